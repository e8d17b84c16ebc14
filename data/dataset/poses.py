"""Which camera poses of a recording can be used: invalid ones are flagged with the reason and never replaced."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

RIGID = 1e-3
"""Largest deviation of R R^T from the identity; `data.dataset.check` holds the written float32 poses to the same."""


def check_poses(cam2world: ArrayLike) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which poses are rigid motions, (T,) bool, and for each the reason why not ("" where it is).

    A pose is unusable if it has NaN or infinite entries (lost tracking), a last row other than (0, 0, 0, 1), a mirrored
    rotation (determinant below 0), a scale, or a shear.

    Args:
        cam2world: (T, 4, 4) camera-to-world matrices.
    """
    poses = np.asarray(cam2world, np.float64)
    reasons = [_why_not(pose) for pose in poses]
    return np.array([not reason for reason in reasons], dtype=np.bool_), reasons


def _why_not(pose: NDArray[np.float64]) -> str:
    if not np.isfinite(pose).all():
        return "NaN or infinite entries"
    if not np.allclose(pose[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        return "the last row is not 0 0 0 1"
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    gram = rotation @ rotation.T
    if np.abs(gram - np.eye(3)).max() < RIGID and determinant > 0:
        return ""
    if abs(determinant) < 1e-9:
        return "the rotation is singular"
    scale = np.cbrt(abs(determinant))
    if np.abs(gram / scale**2 - np.eye(3)).max() >= RIGID:
        return "the rotation is sheared"
    if determinant < 0:
        return "the rotation is mirrored"
    return f"the rotation is scaled by {scale:.4g}"


def describe_invalid(reasons: list[str], numbers: ArrayLike | None = None) -> list[str]:
    """Return one sentence per kind of unusable pose, for a clip's warnings.

    Args:
        reasons: of `check_poses`.
        numbers: (T,) what to call the frames; default 0..T-1.
    """
    names = np.arange(len(reasons)) if numbers is None else np.asarray(numbers)
    result = []
    for reason in sorted({r for r in reasons if r}):
        hit = [int(name) for name, r in zip(names, reasons, strict=True) if r == reason]
        shown = ", ".join(map(str, hit[:5])) + (", ..." if len(hit) > 5 else "")
        result.append(f"{len(hit)} invalid poses ({reason}): frames {shown}")
    return result
