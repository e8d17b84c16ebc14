"""Alignment and point-map error against loops, Umeyama and scipy, by invariance, and in degenerate cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from probe.metrics.arrays import BoolArray, FloatArray
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.clip import confidence_mask
from probe.tasks.geometry.metrics.points import Similarity, align_similarity, point_distances, pointmap_score
from tests.probe.tasks.geometry.metrics.random_clips import VARIANTS, clip, rotations


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
