"""Relative camera poses of view pairs, and the angles between two sets of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import FloatArray
from probe.metrics.score import Variant

__all__ = [
    "RelativePoses",
    "direction_angles",
    "paper_direction_angles",
    "paper_rotation_angles",
    "relative_poses",
    "rotation_angles",
]

_PAPER_EPS = 1e-15
_PAPER_FAILED = 1e6


@dataclass(frozen=True)
class RelativePoses:
    """Motion between the views of each pair i < j.

    Attributes:
        rotation: (P, 3, 3).
        translation: (P, 3).
    """

    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def relative_poses(world_to_camera: FloatArray, *, variant: Variant = "standard") -> RelativePoses:
    """Relative pose of every ordered pair i < j.

    `standard`: E_i E_j^-1, from camera j to camera i. `paper`: E_i^-1 E_j, right for camera-to-world matrices but
    applied to world-to-camera ones.

    Args:
        world_to_camera: (S, 3, 4) [R | t].
        variant: see above.
    """
    poses = np.asarray(world_to_camera, np.float64)
    rotation, translation = poses[..., :3], poses[..., 3]
    i, j = np.triu_indices(len(poses), k=1)
    if variant == "paper":
        back = rotation[i].swapaxes(-1, -2)
        return RelativePoses(back @ rotation[j], _apply(back, translation[j] - translation[i]))
    relative = rotation[i] @ rotation[j].swapaxes(-1, -2)
    return RelativePoses(relative, translation[i] - _apply(relative, translation[j]))


def _apply(matrices: FloatArray, vectors: FloatArray) -> NDArray[np.float64]:
    return np.asarray(np.einsum("pij,pj->pi", matrices, vectors), np.float64)


def rotation_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Angle of first^T second in degrees, [0, 180]; exact near 0 and 180, where the arc cosine is not.

    Args:
        first: (P, 3, 3) rotations.
        second: (P, 3, 3) rotations.
    """
    residual = first.swapaxes(-1, -2) @ second
    skew = np.stack([residual[:, k, j] - residual[:, j, k] for j, k in ((1, 2), (2, 0), (0, 1))], axis=-1)
    trace = np.trace(residual, axis1=-2, axis2=-1)
    return np.asarray(np.degrees(np.arctan2(np.linalg.norm(skew, axis=-1), trace - 1.0)), np.float64)


def direction_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Angle between two lines in degrees, [0, 90]: blind to sign and length. 90 if a vector is zero.

    Args:
        first: (P, 3).
        second: (P, 3).
    """
    dot = np.abs((first * second).sum(axis=-1))
    cross = np.linalg.norm(np.cross(first, second), axis=-1)
    return np.where((dot == 0) & (cross == 0), 90.0, np.degrees(np.arctan2(cross, dot)))


def paper_rotation_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Rotation error as published, degrees: arccos(1 - 2 max(1 - c, 1e-15)), c the squared quaternion product."""
    # (q . q')^2 = (1 + trace of the residual) / 4 for unit quaternions
    trace = np.trace(first.swapaxes(-1, -2) @ second, axis1=-2, axis2=-1)
    miss = np.maximum(1.0 - (1.0 + trace) / 4.0, _PAPER_EPS)
    return np.asarray(np.degrees(np.arccos(np.clip(1.0 - 2.0 * miss, -1.0, 1.0))), np.float64)


def paper_direction_angles(first: FloatArray, second: FloatArray) -> NDArray[np.float64]:
    """Translation error as published, degrees: arccos sqrt(1 - max(1 - (u . u')^2, 1e-15)); not finite -> 1e6 rad."""
    unit = [v / (np.linalg.norm(v, axis=-1, keepdims=True) + _PAPER_EPS) for v in (first, second)]
    miss = np.clip(1.0 - (unit[0] * unit[1]).sum(axis=-1) ** 2, _PAPER_EPS, 1.0)
    angle = np.arccos(np.sqrt(1.0 - miss))
    return np.degrees(np.where(np.isfinite(angle), angle, _PAPER_FAILED))
