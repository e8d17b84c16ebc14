"""Checks depth, poses and intrinsics against each other by moving the pixels of one frame into another."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Agreement(NamedTuple):
    """How well two frames agree.

    Attributes:
        covisible: pixels of frame i that land in frame j, on a known depth, not behind its surface.
        depth: share of them whose depth agrees within the tolerance.
        instance: share of those that carry the same instance id; NaN without ids.
    """

    covisible: int
    depth: float
    instance: float


def reproject(
    depth_i: NDArray[np.float32],
    depth_j: NDArray[np.float32],
    intrinsics: tuple[NDArray[np.float32], NDArray[np.float32]],
    cam2world: tuple[NDArray[np.float32], NDArray[np.float32]],
    ids: tuple[NDArray[np.uint16], NDArray[np.uint16]] | None = None,
    *,
    tolerance: float = 0.01,
    occlusion: float = 0.05,
) -> Agreement:
    """Compare frame i, moved into camera j, with frame j.

    Args:
        depth_i, depth_j: (H, W) z depth, 0 = unknown.
        intrinsics: the two 3x3 matrices in pixels of (H, W).
        cam2world: the two 4x4 poses.
        ids: the two instance maps.
        tolerance: relative depth difference that counts as agreement.
        occlusion: points farther than this behind the surface of frame j are hidden there and don't count.
    """
    height, width = depth_i.shape
    v, u = np.nonzero(depth_i > 0)
    rays = np.linalg.inv(intrinsics[0].astype(np.float64)) @ np.stack([u + 0.5, v + 0.5, np.ones(len(u))])
    camera = rays * depth_i[v, u]
    motion = np.linalg.inv(cam2world[1].astype(np.float64)) @ cam2world[0].astype(np.float64)
    moved = motion[:3, :3] @ camera + motion[:3, 3:]
    front = moved[2] > 1e-6
    v, u, moved = v[front], u[front], moved[:, front]
    pixel = intrinsics[1].astype(np.float64) @ moved
    x, y = np.floor(pixel[0] / pixel[2]), np.floor(pixel[1] / pixel[2])
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    v, u, z = v[inside], u[inside], moved[2, inside]
    xi, yi = x[inside].astype(np.int64), y[inside].astype(np.int64)
    there = depth_j[yi, xi].astype(np.float64)
    seen = (there > 0) & (z < there * (1 + occlusion))
    agrees = seen & (np.abs(z - there) <= tolerance * there)
    count = int(seen.sum())
    if ids is None or not agrees.any():
        same = float("nan")
    else:
        same = float((ids[0][v, u] == ids[1][yi, xi])[agrees].mean())
    return Agreement(count, float(agrees.sum() / count) if count else float("nan"), same)
