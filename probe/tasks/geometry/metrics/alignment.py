"""Similarity alignment of point clouds: the scale, rotation and translation of least squared error (Umeyama)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import FloatArray, require_array
from probe.metrics.score import Variant, check_variant

__all__ = ["MIN_POINTS", "Similarity", "align_similarity"]

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
        The transform, or the reason why there is none.

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
