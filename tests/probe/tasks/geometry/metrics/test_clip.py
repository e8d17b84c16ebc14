"""Masks by confidence, and the score of a whole clip against those of its parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from configs.errors import ConfigError, DatasetError
from probe.metrics.arrays import FloatArray
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.clip import ClipGeometry, confidence_mask, geometry_score
from probe.tasks.geometry.metrics.depth import depth_score
from tests.probe.tasks.geometry.metrics.random_clips import VARIANTS, clip, rotations


def test_mask_keeps_the_top_quarter_of_the_clip() -> None:
    confidence = np.arange(40.0).reshape(2, 4, 5)
    every = np.ones(confidence.shape, bool)
    for variant in VARIANTS:
        mask = confidence_mask(confidence, every, variant=variant)
        assert mask.sum() == 10
        assert mask.ravel()[-10:].all()
        assert confidence_mask(np.ones_like(confidence), every, variant=variant).all()
        assert not confidence_mask(confidence, ~every, variant=variant).any()
    half = confidence < 20
    assert confidence_mask(confidence, half).sum() == 5
    assert confidence_mask(confidence, half, variant="paper").sum() == 0
    np.testing.assert_array_equal(confidence_mask(None, half), half)


def random_geometry(seed: int = 0) -> tuple[ClipGeometry, ClipGeometry, FloatArray]:
    prediction, truth, confidence = clip(seed)
    rng = np.random.default_rng(seed)
    depth = rng.gamma(3.0, size=confidence.shape)
    poses = np.concatenate([rotations(3, seed), rng.normal(size=(3, 3, 1))], axis=-1)
    return ClipGeometry(1.1 * depth**1.1, prediction, poses), ClipGeometry(depth, truth, poses), confidence


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_clip_in_one_call_equals_its_parts(variant: Variant) -> None:
    predicted, true, confidence = random_geometry()
    got = geometry_score(predicted, true, confidence=confidence, frame_indices=np.array([0, 5, 40]), variant=variant)
    mask = confidence_mask(confidence, np.ones(confidence.shape, bool), variant=variant)
    assert got.values["abs_rel"] == depth_score(predicted.depth, true.depth, mask, variant=variant).values["abs_rel"]
    assert got.values["auc_30"] == 1.0
    assert got.counts["pose_pairs"] == 3
    assert got.values["frame_dist_b0_err"] > 0
    # distances 0, 5, 40 fill the outer of four buckets; ranks 0, 1, 2 also the third
    empty = {"paper": {"b1"}, "standard": {"b1", "b2"}}[variant]
    assert {key.split("_")[2] for key in got.undefined if key.startswith("frame_dist_b")} == empty


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_invalid_depth_leaves_only_the_pose(variant: Variant) -> None:
    predicted, true, confidence = random_geometry()
    got = geometry_score(
        predicted, true, confidence=confidence, valid=np.zeros(confidence.shape, bool), variant=variant
    )
    defined = {key for key in got.values if key not in got.undefined and not key.startswith("frame_dist")}
    assert defined == {f"auc_{k}" for k in (30, 10, 5, 3)} | {f"{p}_{k}" for p in ("rac", "tac") for k in (5, 15)}
    assert all(math.isnan(got.values[key]) for key in got.undefined)


def test_pixels_without_sensor_depth_are_left_out() -> None:
    predicted, true, _ = random_geometry()
    hole = np.zeros(true.depth.shape, bool)
    hole[:, :3] = True
    for value in (0.0, np.nan):
        depth = np.where(hole, value, true.depth)
        points = np.where(hole[..., None], 1e6 if value == 0 else np.nan, true.points)
        holed = geometry_score(predicted, ClipGeometry(depth, points, true.world_to_camera))
        expected = geometry_score(predicted, true, valid=~hole)
        assert holed.values["pmap_err"] == expected.values["pmap_err"]
        assert holed.values["abs_rel"] == expected.values["abs_rel"]
        assert holed.counts["pmap_pixels"] == (~hole).sum()


def test_single_precision_is_scored_in_double() -> None:
    predicted, true, confidence = random_geometry()
    small = ClipGeometry(
        *(part.astype(np.float32) for part in (predicted.depth, predicted.points, predicted.world_to_camera))
    )
    one = geometry_score(predicted, true, confidence=confidence).values
    two = geometry_score(small, true, confidence=confidence).values
    for key in ("pmap_err", "abs_rel", "rmse"):
        assert one[key] == pytest.approx(two[key], rel=1e-5)


def test_bad_shapes_are_refused() -> None:
    predicted, true, confidence = random_geometry()
    with pytest.raises(DatasetError):
        geometry_score(ClipGeometry(predicted.depth[:, 1:], predicted.points, predicted.world_to_camera), true)
    with pytest.raises(DatasetError):
        geometry_score(predicted, true, confidence=confidence[1:])
    with pytest.raises(ConfigError):
        geometry_score(predicted, true, variant="new")  # type: ignore[arg-type]
