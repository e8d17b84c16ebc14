"""Checks depth, poses and intrinsics against each other by moving the pixels of one frame into another.

A moved pixel falls between four pixel centres of the other frame. It agrees if its depth lies within the range of their
depths, widened by a tolerance: at coarse resolution the nearest pixel alone would differ on every slanted surface.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Agreement(NamedTuple):
    """How well two frames agree.

    Attributes:
        covisible: pixels of frame i that land in frame j, amid known depths, not behind its surface.
        depth: share of them whose depth agrees within the tolerance.
        instance: share of those whose instance id is among the four pixels'; NaN without ids.
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
    """Compare frame i, moved into camera j, with frame j; both of the same size.

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
    x, y = pixel[0] / pixel[2] - 0.5, pixel[1] / pixel[2] - 0.5  # in pixel centres
    inside = (x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1)
    v, u, z = v[inside], u[inside], moved[2, inside]
    xi, yi = x[inside].astype(np.int64), y[inside].astype(np.int64)
    corners = [(yi + dy, xi + dx) for dy in (0, 1) for dx in (0, 1)]
    around = np.stack([depth_j[corner] for corner in corners]).astype(np.float64)
    near, far = around.min(0), around.max(0)
    seen = (near > 0) & (z < far * (1 + occlusion))
    agrees = seen & (z >= near * (1 - tolerance)) & (z <= far * (1 + tolerance))
    count = int(seen.sum())
    same = float("nan")
    if ids is not None and agrees.any():
        there = np.stack([ids[1][corner] for corner in corners])
        same = float((ids[0][v, u] == there).any(0)[agrees].mean())
    return Agreement(count, float(agrees.sum() / count) if count else float("nan"), same)
