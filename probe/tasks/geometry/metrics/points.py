"""Point-map error: confidence-weighted mean distance to the true points after a similarity alignment."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant

MIN_POINTS = 3
"""Fewest points that fix a similarity transform."""

_RANK_TOLERANCE = 1e-10
_FIX = "pass as many predicted as true points, (N, 3)"


@dataclass(frozen=True)
class Similarity:
    """The map x -> scale * rotation @ x + translation.

    Attributes:
        scale: positive.
        rotation: (3, 3), proper: reflections are not allowed.
        translation: (3,).
    """

    scale: float
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]

    def __call__(self, points: FloatArray) -> NDArray[np.float64]:
        """Apply to points (..., 3), floats."""
        require_array(points, (*np.shape(points)[:-1], 3), "float", "points", fix="pass points (..., 3)")
        return points @ (self.scale * self.rotation).T + self.translation


def align_similarity(source: FloatArray, target: FloatArray, *, variant: Variant = "standard") -> Similarity | str:
    """Minimise sum |scale R x + t - y|^2 over similarity transforms, without weights.

    Args:
        source: (N, 3) predicted points, finite.
        target: (N, 3) true points, finite.
        variant: `standard` computes in float64 and refuses clouds that leave the rotation open (fewer than three
            points, or on one line). `paper` computes in float32 and takes whatever comes out.

    Returns:
        The transform, or the reason why it is undefined.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(source, (None, 3), "float", "predicted points", fix=_FIX)
    require_array(target, source.shape, "float", "true points", fix=_FIX)
    if len(source) < MIN_POINTS:
        return f"fewer than {MIN_POINTS} points to align"
    if variant == "standard" and _ambiguous(source, target):
        return "points leave the alignment open"

    import roma
    import torch

    dtype = np.float32 if variant == "paper" else np.float64
    x, y = (torch.as_tensor(np.ascontiguousarray(cloud, dtype)) for cloud in (source, target))
    rotation, translation, scale = roma.rigid_points_registration(x, y, compute_scaling=True)
    return Similarity(float(scale), rotation.double().numpy(), translation.double().numpy())


def _ambiguous(source: FloatArray, target: FloatArray) -> bool:
    """Whether more than one rotation is optimal: the two smaller singular values (signed) cancel or vanish."""
    x, y = source.astype(np.float64), target.astype(np.float64)
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    covariance = y.T @ x
    values = np.linalg.svd(covariance, compute_uv=False)
    scale = np.sqrt((x**2).sum() * (y**2).sum())
    sign = 1.0 if np.linalg.det(covariance) >= 0 else -1.0
    return bool(values[1] + sign * values[2] <= _RANK_TOLERANCE * scale)


@dataclass(frozen=True)
class PointDistances:
    """Distances per pixel after alignment.

    Attributes:
        distance: (S, H, W) float64, NaN on unusable pixels and everywhere if undefined.
        similarity: the alignment used; None when there is none.
        reason: why the error is undefined; empty if it is defined.
        aligned_pixels: pixels the alignment rests on.
    """

    distance: NDArray[np.float64]
    similarity: Similarity | None
    reason: str
    aligned_pixels: int


def point_distances(
    prediction: FloatArray, truth: FloatArray, mask: BoolArray, usable: BoolArray, *, variant: Variant = "standard"
) -> PointDistances:
    """Align the prediction on the pixels of `mask` and measure Euclidean distances on all usable pixels.

    Args:
        prediction: (S, H, W, 3) predicted points, one frame for all queries.
        truth: (S, H, W, 3) true points.
        mask: (S, H, W) bool, pixels to align on, a subset of `usable`.
        usable: (S, H, W) bool, pixels with ground truth.
        variant: with fewer than three pixels in `mask`, `paper` measures the raw prediction; `standard` is undefined.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(prediction, (None, None, None, 3), "float", "predicted points")
    require_array(truth, prediction.shape, "float", "true points")
    require_array(mask, prediction.shape[:3], "bool", "alignment mask")
    require_array(usable, prediction.shape[:3], "bool", "usable pixels")
    distance = np.full(mask.shape, np.nan)
    source, target = prediction[usable], truth[usable]
    chosen = mask[usable]
    pixels = int(chosen.sum())
    if not len(source):
        return PointDistances(distance, None, "no pixel with ground truth", pixels)
    if not np.isfinite(source).all():
        return PointDistances(distance, None, "predicted points are not finite", pixels)
    similarity: Similarity | None = None
    aligned: FloatArray = source.astype(np.float64)
    if variant == "standard" or pixels >= MIN_POINTS:
        found = align_similarity(source[chosen], target[chosen], variant=variant)
        if isinstance(found, str):
            return PointDistances(distance, None, found, pixels)
        similarity, aligned = found, found(source)
    distance[usable] = np.linalg.norm(aligned - target, axis=-1)
    return PointDistances(distance, similarity, "", pixels)


def pointmap_score(
    distances: PointDistances, confidence: FloatArray | None, *, variant: Variant = "standard"
) -> ClipScore:
    """Mean distance over all usable pixels, weighted by raw confidence: `pmap_err`.

    A mean, not a median, of distances that are not squared; in the unit of the true points. The published key is
    `pmap_mse_aligned`.

    Args:
        distances: from `point_distances`.
        confidence: (S, H, W), not negative; None weighs all pixels alike.
        variant: `paper` adds 1e-6 to the sum of weights.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    if confidence is not None:
        require_array(confidence, distances.distance.shape, "float", "confidences")
    counts = {
        "pmap_pixels": int((~np.isnan(distances.distance)).sum()),
        "pmap_aligned_pixels": distances.aligned_pixels,
    }
    if distances.reason:
        return ClipScore.without_value(("pmap_err",), distances.reason, counts)
    used = ~np.isnan(distances.distance)
    values = distances.distance[used]
    weights = np.ones(values.shape) if confidence is None else confidence[used].astype(np.float64)
    total = weights.sum() + (1e-6 if variant == "paper" else 0.0)
    if total <= 0 or not len(values):
        return ClipScore.without_value(("pmap_err",), "confidences sum to zero", counts)
    error = float((weights * values).sum() / total)
    return ClipScore({"pmap_err": error}, counts, {} if math.isfinite(error) else {"pmap_err": "not finite"})
