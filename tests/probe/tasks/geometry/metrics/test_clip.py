"""Alignment, point-map error and depth family against loops, roma, scipy and torchmetrics, and by invariance."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from configs.errors import ConfigError, DatasetError
from probe.metrics.arrays import BoolArray, FloatArray
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.clip import ClipGeometry, confidence_mask, geometry_score
from probe.tasks.geometry.metrics.depth import DEPTH_KEYS, depth_score
from probe.tasks.geometry.metrics.points import Similarity, align_similarity, point_distances, pointmap_score

VARIANTS: tuple[Variant, ...] = ("paper", "standard")


def rotations(count: int, seed: int) -> FloatArray:
    return np.asarray(Rotation.random(count, random_state=np.random.RandomState(seed)).as_matrix())


def clip(
    seed: int = 0, shape: tuple[int, int, int] = (3, 8, 9), noise: float = 0.1
) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(*shape, 3))
    prediction = truth + noise * rng.normal(size=truth.shape)
    confidence = 1.0 + rng.gamma(1.0, size=shape)
    return prediction, truth, confidence


def umeyama_twin(x: FloatArray, y: FloatArray) -> tuple[float, FloatArray, FloatArray]:
    """Umeyama (1991), equations 34 to 43, point by point."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    covariance, variance = np.zeros((3, 3)), 0.0
    for a, b in zip(x, y, strict=True):
        covariance += np.outer(b - mean_y, a - mean_x) / n
        variance += float((a - mean_x) @ (a - mean_x)) / n
    u, d, vt = np.linalg.svd(covariance)
    flip = np.diag([1.0, 1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = u @ flip @ vt
    scale = float(np.trace(np.diag(d) @ flip)) / variance
    return scale, rotation, mean_y - scale * rotation @ mean_x


def pointmap_twin(
    prediction: FloatArray,
    truth: FloatArray,
    confidence: FloatArray,
    mask: BoolArray,
    usable: BoolArray,
    variant: Variant,
) -> float:
    chosen = [p for p in np.ndindex(mask.shape) if mask[p]]
    alignment: tuple[float, FloatArray, FloatArray] = 1.0, np.eye(3), np.zeros(3)
    if len(chosen) >= 3:
        alignment = umeyama_twin(np.array([prediction[p] for p in chosen]), np.array([truth[p] for p in chosen]))
    elif variant == "standard":
        return math.nan
    scale, rotation, translation = alignment
    weighted, total = 0.0, 1e-6 if variant == "paper" else 0.0
    for p in np.ndindex(mask.shape):
        if usable[p]:
            error = math.dist(scale * rotation @ prediction[p] + translation, truth[p])
            weighted += float(confidence[p]) * error
            total += float(confidence[p])
    return weighted / total


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(5))
def test_pointmap_error_equals_its_twin(seed: int, variant: Variant) -> None:
    prediction, truth, confidence = clip(seed, noise=0.5)
    usable = np.random.default_rng(seed).random(confidence.shape) < 0.8
    mask = confidence_mask(confidence, usable, variant=variant)
    got = pointmap_score(point_distances(prediction, truth, mask, usable, variant=variant), confidence, variant=variant)
    expected = pointmap_twin(prediction, truth, confidence, mask, usable, variant)
    assert got.values["pmap_err"] == pytest.approx(expected, rel=1e-9 if variant == "standard" else 1e-4)
    assert got.counts == {"pmap_pixels": usable.sum(), "pmap_aligned_pixels": mask.sum()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(4))
def test_alignment_recovers_a_similarity(seed: int, variant: Variant) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(50, 3))
    scale, rotation, shift = float(rng.uniform(0.1, 9)), rotations(1, seed)[0], rng.normal(size=3)
    found = align_similarity(source, scale * source @ rotation.T + shift, variant=variant)
    assert isinstance(found, Similarity)
    tolerance = 1e-10 if variant == "standard" else 1e-4
    assert found.scale == pytest.approx(scale, rel=tolerance)
    np.testing.assert_allclose(found.rotation, rotation, atol=tolerance)
    np.testing.assert_allclose(found.translation, shift, atol=10 * tolerance)


@pytest.mark.parametrize("seed", range(4))
def test_alignment_equals_umeyama_and_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 3))
    if seed % 2:  # a mirror image: the best orthogonal map would be a reflection
        y = x * [1, 1, -1] + 0.1 * y
    found = align_similarity(x, y)
    assert isinstance(found, Similarity)
    scale, rotation, translation = umeyama_twin(x, y)
    np.testing.assert_allclose(found.rotation, rotation, atol=1e-9)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.translation, translation, atol=1e-9)
    by_scipy = Rotation.align_vectors(y - y.mean(axis=0), x - x.mean(axis=0))[0].as_matrix()
    np.testing.assert_allclose(found.rotation, by_scipy, atol=1e-7)


def test_points_in_a_plane_are_fine() -> None:
    x = np.random.default_rng(0).normal(size=(30, 3)) * [1, 1, 0]
    rotation = rotations(1, 3)[0]
    found = align_similarity(x, 2 * x @ rotation.T)
    assert isinstance(found, Similarity)
    np.testing.assert_allclose(found(x), 2 * x @ rotation.T, atol=1e-9)


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((9, 3)),
        np.arange(9)[:, None] * np.ones(3),
        np.arange(9)[:, None].astype(np.float32) * [[0.1, 0.2, 0.7]],
    ],
    ids=["one point", "a line", "a line in float32"],
)
def test_degenerate_clouds_have_no_alignment(points: FloatArray) -> None:
    target = np.random.default_rng(0).normal(size=(9, 3))
    assert align_similarity(points, target) == "points leave the alignment open"
    assert align_similarity(target, points) == "points leave the alignment open"


def test_mirror_image_without_a_preferred_axis_has_no_alignment() -> None:
    corners = np.concatenate([np.eye(3), -np.eye(3)])
    assert align_similarity(corners, corners * [1, 1, -1]) == "points leave the alignment open"
    found = align_similarity(corners, corners * [3, 2, -1])  # the shortest axis is the one to give up
    assert isinstance(found, Similarity)
    np.testing.assert_allclose(found.rotation, np.eye(3), atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_error_is_invariant_to_similarity_transforms_of_the_prediction(seed: int) -> None:
    prediction, truth, confidence = clip(seed)
    usable = np.ones(confidence.shape, bool)
    mask = confidence_mask(confidence, usable)
    moved = 3.7 * prediction @ rotations(1, seed)[0].T + [5.0, -2.0, 9.0]
    one, two = (
        pointmap_score(point_distances(p, truth, mask, usable), confidence).values["pmap_err"]
        for p in (prediction, moved)
    )
    assert one == pytest.approx(two, rel=1e-10)
    assert one > 0.01
    perfect = point_distances(0.2 * truth @ rotations(1, 9)[0].T + 4, truth, mask, usable)
    assert pointmap_score(perfect, confidence).values["pmap_err"] < 1e-12


def test_too_few_points_to_align() -> None:
    prediction, truth, confidence = clip()
    usable = np.ones(confidence.shape, bool)
    mask = np.zeros(confidence.shape, bool)
    mask[0, 0, :2] = True
    paper = pointmap_score(point_distances(prediction, truth, mask, usable, variant="paper"), None, variant="paper")
    raw = np.linalg.norm(prediction - truth, axis=-1).mean()
    assert paper.values["pmap_err"] == pytest.approx(raw, rel=1e-6)
    standard = pointmap_score(point_distances(prediction, truth, mask, usable), None)
    assert math.isnan(standard.values["pmap_err"])
    assert standard.undefined == {"pmap_err": "fewer than 3 points to align"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_points_without_meaning(variant: Variant) -> None:
    prediction, truth, confidence = clip()
    usable = np.ones(confidence.shape, bool)
    mask = confidence_mask(confidence, usable, variant=variant)
    nothing = np.zeros_like(usable)
    empty = pointmap_score(point_distances(prediction, truth, nothing, nothing, variant=variant), confidence)
    assert empty.undefined == {"pmap_err": "no pixel with ground truth"}
    broken = prediction.copy()
    broken[0, 0, 0, 0] = np.nan
    assert pointmap_score(
        point_distances(broken, truth, mask, usable, variant=variant), confidence, variant=variant
    ).undefined == {"pmap_err": "predicted points are not finite"}
    flat = pointmap_score(point_distances(0 * prediction, truth, mask, usable, variant=variant), confidence)
    assert math.isnan(flat.values["pmap_err"])
    assert "pmap_err" in flat.undefined
    weightless = pointmap_score(point_distances(prediction, truth, mask, usable), 0 * confidence)
    assert weightless.undefined == {"pmap_err": "confidences sum to zero"}


def test_tiny_weights_count_in_full_unless_as_published() -> None:
    prediction, truth, _ = clip(shape=(1, 2, 2))
    every, weights = np.ones((1, 2, 2), bool), np.full((1, 2, 2), 2.5e-7)  # they sum to 1e-6
    distances = point_distances(prediction, truth, every, every)
    standard = pointmap_score(distances, weights).values["pmap_err"]
    assert standard == pytest.approx(distances.distance.mean())
    assert pointmap_score(distances, weights, variant="paper").values["pmap_err"] == pytest.approx(standard / 2)


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


def depth_twin(
    prediction: FloatArray, truth: FloatArray, variant: Variant, scale: Literal["median", "none"]
) -> list[float]:
    """One pixel after the other."""
    p, g = [float(v) for v in prediction], [float(v) for v in truth]
    if variant == "standard":
        p, g = [a for a, b in zip(p, g, strict=True) if b > 0], [b for b in g if b > 0]
    else:
        p, g = [max(v, 1e-6) for v in p], [max(v, 1e-6) for v in g]
    if not p:
        return [math.nan] * 8

    def median(values: list[float]) -> float:
        ordered, n = sorted(values), len(values)
        low, high = ordered[(n - 1) // 2], ordered[n // 2]
        return low if variant == "paper" else (low + high) / 2

    if scale == "median":
        s = median(g) / median(p)
        p = [v * (min(max(s, 1e-6), 1e6) if variant == "paper" else s) for v in p]
    if variant == "standard":
        p = [max(v, 1e-6) for v in p]
    n = len(p)
    pairs = list(zip(p, g, strict=True))
    return [
        sum(abs(a - b) / b for a, b in pairs) / n,
        sum((a - b) ** 2 / b for a, b in pairs) / n,
        math.sqrt(sum((a - b) ** 2 for a, b in pairs) / n),
        math.sqrt(sum((math.log(a) - math.log(b)) ** 2 for a, b in pairs) / n),
        sum(abs(math.log10(a) - math.log10(b)) for a, b in pairs) / n,
        *(sum(max(a / b, b / a) < 1.25**k for a, b in pairs) / n for k in (1, 2, 3)),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", ["median", "none"])
@pytest.mark.parametrize("seed", range(6))
def test_depth_family_equals_its_twin(seed: int, scale: Literal["median", "none"], variant: Variant) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.gamma(3.0, size=(2, 5, 6))
    prediction = truth * np.exp(0.4 * rng.normal(size=truth.shape)) * 3
    truth[rng.random(truth.shape) < 0.1] = 0.0
    prediction[rng.random(truth.shape) < 0.1] *= -1
    mask = rng.random(truth.shape) < 0.7
    got = depth_score(prediction, truth, mask, scale=scale, variant=variant)
    expected = depth_twin(prediction[mask], truth[mask], variant, scale)
    np.testing.assert_allclose([got.values[key] for key in DEPTH_KEYS], expected, rtol=1e-10)


def test_depth_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_percentage_error, root_mean_squared_error

    rng = np.random.default_rng(0)
    truth, prediction = rng.gamma(3.0, size=(1, 9, 9)), rng.gamma(3.0, size=(1, 9, 9))
    got = depth_score(prediction, truth, np.ones(truth.shape, bool), scale="none")
    assert got.values["abs_rel"] == pytest.approx(mean_absolute_percentage_error(truth.ravel(), prediction.ravel()))
    assert got.values["rmse"] == pytest.approx(root_mean_squared_error(truth.ravel(), prediction.ravel()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_depth_is_blind_to_scale_and_perfect_is_zero(variant: Variant) -> None:
    truth = np.random.default_rng(0).gamma(3.0, size=(2, 4, 5))
    every = np.ones(truth.shape, bool)
    got = depth_score(7 * truth, truth, every, variant=variant)
    assert [got.values[key] for key in DEPTH_KEYS] == pytest.approx([0] * 5 + [1] * 3, abs=1e-12)
    noisy = truth * np.exp(np.random.default_rng(1).normal(size=truth.shape))
    one, two = (depth_score(k * noisy, truth, every, variant=variant).values for k in (1, 0.01))
    assert one == pytest.approx(two)


def test_lower_median_in_paper() -> None:
    truth, prediction = np.array([[[2.0, 4.0]]]), np.array([[[1.0, 1.0]]])
    every = np.ones((1, 1, 2), bool)
    assert depth_score(prediction, truth, every, variant="paper").values["abs_rel"] == pytest.approx(0.25)
    assert depth_score(prediction, truth, every).values["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)


def test_scale_is_limited_in_paper() -> None:
    truth, every = np.array([[[8.0, 8.0, 8.0]]]), np.ones((1, 1, 3), bool)
    assert depth_score(0 * truth + 1e-6, truth, every, variant="paper").values["abs_rel"] == pytest.approx(7 / 8)
    assert depth_score(0 * truth + 1e-6, truth, every).values["abs_rel"] == pytest.approx(0.0, abs=1e-12)


def test_delta_is_strict() -> None:
    got = depth_score(np.array([[[1.25]]]), np.array([[[1.0]]]), np.ones((1, 1, 1), bool), scale="none")
    assert (got.values["delta_1"], got.values["delta_2"]) == (0.0, 1.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_depth_without_meaning(variant: Variant) -> None:
    truth = np.ones((1, 2, 2))
    none, every = np.zeros(truth.shape, bool), np.ones(truth.shape, bool)
    empty = depth_score(truth, truth, none, variant=variant)
    assert set(empty.undefined.values()) == {"no pixel with depth"}
    assert all(math.isnan(value) for value in empty.values.values())
    broken = depth_score(truth * np.nan, truth, every, variant=variant)
    assert set(broken.undefined) == set(DEPTH_KEYS)
    negative = depth_score(-truth, truth, every, variant=variant)
    assert negative.counts["depth_nonpositive"] == 4
    if variant == "standard":
        assert set(negative.undefined.values()) == {"median of predicted depth is not positive"}
        assert depth_score(truth, 0 * truth, every).undefined["abs_rel"] == "no pixel with depth"
    else:  # raised to 1e-6 and scaled back to the median: a perfect score, as published
        assert negative.values["abs_rel"] == pytest.approx(0.0, abs=1e-12)


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
