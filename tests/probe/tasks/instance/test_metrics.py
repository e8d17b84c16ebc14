"""T-mIoU and T-SR against sets of pixels, the published match of overlaid frames, and degenerate clips."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from configs.errors import ConfigError, DatasetError
from probe.metrics.arrays import BoolArray, IntArray
from probe.metrics.score import ClipScore, Variant
from probe.tasks.instance.ceiling import grid_ceiling, majority_labels
from probe.tasks.instance.clustering import upsample_labels
from probe.tasks.instance.metrics import compact, instance_score, match_objects


def score(
    prediction: ArrayLike,
    truth: ArrayLike,
    *,
    things: IntArray | None = None,
    variant: Variant = "standard",
    **options: Any,
) -> ClipScore:
    return instance_score(
        match_objects(np.array(prediction), np.array(truth), variant=variant, **options), things=things, variant=variant
    )


def twin(
    prediction: IntArray,
    truth: IntArray,
    valid: BoolArray,
    background: str,
    variant: Variant,
    things: tuple[int, ...] | None = None,
) -> tuple[float, float, int]:
    """Sets of pixels, one object after the other, as the text defines them."""
    queries, height, width = truth.shape
    pixels = [(s, y, x) for s in range(queries) for y in range(height) for x in range(width) if valid[s, y, x]]
    if background == "excluded":
        pixels = [p for p in pixels if truth[p] != 0]
    objects = sorted({int(truth[p]) for p in pixels} - {0})
    clusters = sorted({int(prediction[p]) for p in pixels if prediction[p] >= 0})
    a = {g: {p for p in pixels if truth[p] == g} for g in objects}
    b = {c: {p for p in pixels if prediction[p] == c} for c in clusters}
    ious, successes = [], []
    for g in objects:
        if things is not None and g not in things:
            continue
        if clusters:
            best, best_iou = clusters[0], -1.0
            for c in clusters:
                one, two = a[g], b[c]
                if variant == "paper":  # without their queries
                    one, two = {(0, y, x) for _, y, x in one}, {(0, y, x) for _, y, x in two}
                iou = len(one & two) / len(one | two)
                if iou > best_iou:
                    best, best_iou = c, iou
        per_query = []
        for s in range(queries):
            one = {p for p in a[g] if p[0] == s}
            if not one:
                continue
            two = {p for p in b[best] if p[0] == s} if clusters else set()
            per_query.append(len(one & two) / len(one | two))
        ious.append(sum(per_query) / len(per_query))
        successes.append(all(iou >= 0.5 for iou in per_query))
    if not ious:
        return (0.0, 0.0, 0) if variant == "paper" else (math.nan, math.nan, 0)
    return sum(ious) / len(ious), sum(successes) / len(successes), len(ious)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("variant", ["paper", "standard"])
@pytest.mark.parametrize("background", ["excluded", "counted"])
def test_random_clips_equal_the_twin(seed: int, variant: Variant, background: str) -> None:
    rng = np.random.default_rng(seed)
    shape = (3, int(rng.integers(2, 7)), int(rng.integers(2, 7)))
    truth = rng.integers(0, int(rng.integers(1, 6)), shape)
    noisy = np.where(rng.random(shape) < 0.5, truth, rng.integers(-1, 5, shape))
    prediction = np.where(noisy == 0, -1, noisy)
    valid = rng.random(shape) < 0.8
    things = (1, 3)
    expected = twin(prediction, truth, valid, background, variant)
    expected_things = twin(prediction, truth, valid, background, variant, things)
    got = score(prediction, truth, valid=valid, background=background, variant=variant, things=np.array(things))
    np.testing.assert_allclose((got.values["t_miou"], got.values["t_sr"], got.counts["n_objects"]), expected)
    np.testing.assert_allclose(
        (got.values["t_miou_things"], got.values["t_sr_things"], got.counts["n_things"]), expected_things
    )


def test_the_published_match_lays_frames_on_top_of_each_other() -> None:
    """Cluster 1 covers the object in query 0, cluster 0 most of it in query 1 and what lies there in query 0."""
    truth = [[[7, 7, 7, 7, 7, 0, 0, 0]], [[7] * 8]]
    prediction = [[[1, 1, 1, 1, 1, 0, 0, 0]], [[1, 0, 0, 0, 0, 0, -1, -1]]]
    paper = match_objects(np.array(prediction), np.array(truth), background="counted", variant="paper")
    standard = match_objects(np.array(prediction), np.array(truth), background="counted")
    assert paper.cluster_ids.tolist() == [0]
    assert standard.cluster_ids.tolist() == [1]
    assert paper.query_iou.tolist() == [[0.0, 5 / 8]]
    assert standard.query_iou.tolist() == [[1.0, 1 / 8]]
    assert instance_score(paper, variant="paper").values["t_miou"] == 0.3125
    assert instance_score(standard).values["t_miou"] == 0.5625


def test_ties_go_to_the_lowest_cluster() -> None:
    matches = match_objects(np.array([[[5, 5, 3, 3]]]), np.array([[[1, 1, 1, 1]]]))
    assert matches.cluster_ids.tolist() == [3]


@pytest.mark.parametrize("variant", ["paper", "standard"])
def test_perfect_and_relabelled(variant: Variant) -> None:
    truth = np.random.default_rng(0).integers(0, 5, (2, 6, 6))
    relabelled = np.where(truth == 0, -1, (truth * 7) % 11)
    got = score(relabelled, truth, variant=variant)
    assert got.values == {"t_miou": 1.0, "t_sr": 1.0}
    assert got.counts == {"n_objects": 4}


@pytest.mark.parametrize("variant", ["paper", "standard"])
def test_no_clusters_scores_zero(variant: Variant) -> None:
    got = score(np.full((2, 3, 3), -1), np.ones((2, 3, 3), int), variant=variant)
    assert got.values == {"t_miou": 0.0, "t_sr": 0.0}
    assert got.undefined == {}
    assert got.counts["n_objects"] == 1


def test_no_objects_is_undefined_and_zero_as_published() -> None:
    prediction, truth = np.zeros((2, 3, 3), int), np.zeros((2, 3, 3), int)
    standard, paper = score(prediction, truth), score(prediction, truth, variant="paper")
    assert all(math.isnan(value) for value in standard.values.values())
    assert paper.values == {"t_miou": 0.0, "t_sr": 0.0}
    for got in (standard, paper):
        assert got.undefined == {"t_miou": "no objects", "t_sr": "no objects"}
        assert got.counts["n_objects"] == 0


def test_threshold_is_inclusive_and_every_query_must_pass() -> None:
    truth = [[[1, 1, 2, 2]], [[1, 1, 2, 2]]]
    prediction = [[[0, -1, 1, 1]], [[0, 0, -1, -1]]]  # object 1: IoU 0.5 and 1; object 2: 1 and 0
    got = score(prediction, truth)
    assert got.values["t_sr"] == 0.5
    assert got.values["t_miou"] == pytest.approx((0.75 + 0.5) / 2)


def test_queries_without_the_object_cost_nothing() -> None:
    got = score([[[0, 0]], [[0, 0]]], [[[1, 1]], [[2, 2]]])
    assert got.values == {"t_miou": 1.0, "t_sr": 1.0}


def test_background_is_free_unless_counted() -> None:
    truth, prediction = [[[1, 1, 0, 0]]], [[[0, 0, 0, 0]]]
    assert score(prediction, truth).values["t_miou"] == 1.0
    assert score(prediction, truth, background="counted").values["t_miou"] == 0.5


def test_things_only_keeps_other_objects_in_unions() -> None:
    truth, prediction = [[[1, 1, 2, 2]]], [[[0, 0, 0, 0]]]
    got = score(prediction, truth, things=np.array([2]))
    assert got.values["t_miou_things"] == 0.5
    assert got.counts["n_things"] == 1
    none = score(prediction, truth, things=np.array([9]))
    assert none.undefined == {"t_miou_things": "no objects", "t_sr_things": "no objects"}
    assert none.values["t_miou"] == 0.5


def test_invalid_pixels_hide_objects_and_clusters() -> None:
    truth, prediction = np.array([[[1, 2]]]), np.array([[[0, 1]]])
    matches = match_objects(prediction, truth, valid=np.array([[[True, False]]]))
    assert matches.object_ids.tolist() == [1]
    assert matches.n_clusters == 1
    assert match_objects(prediction, truth, valid=np.zeros((1, 1, 2), bool)).object_ids.size == 0


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64])
def test_ids_of_any_size_and_type(dtype: type[np.integer[Any]]) -> None:
    top = int(np.iinfo(dtype).max)
    truth = np.array([[[0, 1, top, top]]], dtype)
    got = score(np.array([[[-1, 4, 3_000_000, 3_000_000]]]), truth)
    assert got.values["t_miou"] == 1.0
    values, index = compact(truth, truth == 0)
    assert values.tolist() == [1, top]
    assert index.ravel().tolist() == [2, 0, 1, 1]


def test_full_size_collapse_is_exact() -> None:
    """The chunked product adds up over more positions than one chunk holds."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, (2, 300, 400))
    prediction = rng.integers(-1, 3, (2, 300, 400))
    matches = match_objects(prediction, truth, variant="paper")
    valid = truth != 0
    for row, g in enumerate(matches.object_ids):
        iou = []
        for c in range(3):
            a = ((truth == g) & valid).any(axis=0)
            b = ((prediction == c) & valid).any(axis=0)
            iou.append((a & b).sum() / (a | b).sum())
        assert matches.cluster_ids[row] == int(np.argmax(iou))


def test_ceiling_is_one_when_objects_follow_the_grid() -> None:
    coarse = np.random.default_rng(0).integers(0, 4, (2, 4, 5))
    truth = upsample_labels(coarse, (22, 31))
    got = grid_ceiling(truth, (4, 5), min_cells=1)
    assert got.values == {"t_miou": 1.0, "t_sr": 1.0}
    labels = majority_labels(truth, (4, 5), min_cells=1)
    np.testing.assert_array_equal(labels >= 0, coarse > 0)


def test_ceiling_loses_small_objects_and_takes_majorities() -> None:
    truth = np.ones((1, 4, 8), int)
    truth[0, 0, 0] = 2  # one pixel of a cell of 2 x 2: outvoted
    truth[0, :, 6:] = 3  # two cells of 2 x 2
    labels = majority_labels(truth, (2, 4), min_cells=1)
    assert labels[0].tolist() == [[0, 0, 0, 2], [0, 0, 0, 2]]
    assert majority_labels(truth, (2, 4), min_cells=3)[0].tolist() == [[0, 0, 0, -1], [0, 0, 0, -1]]
    np.testing.assert_array_equal(majority_labels(truth, (2, 4), min_cells=2), labels)  # two cells are enough for two
    got = grid_ceiling(truth, (2, 4), min_cells=1)
    assert got.values["t_miou"] == pytest.approx((23 / 24 + 1 / 24 + 1) / 3)
    assert grid_ceiling(np.zeros((1, 4, 8), int), (2, 4)).undefined["t_miou"] == "no objects"


def test_bad_input_is_refused() -> None:
    with pytest.raises(DatasetError, match="shape"):
        match_objects(np.zeros((1, 2, 2), int), np.zeros((1, 2, 3), int))
    with pytest.raises(ConfigError, match="variant"):
        match_objects(np.zeros((1, 2, 2), int), np.zeros((1, 2, 2), int), variant="old")  # type: ignore[arg-type]
