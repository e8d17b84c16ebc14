"""Do depth, poses and intrinsics agree, and would a frequent mistake explain it if not?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.dataset.check import OPENGL_TO_OPENCV

Poses = NDArray[np.float64]
MARGIN = 0.1
"""A mistake counts as found if undoing it lets this share of co-visible pixels more agree."""
CONVINCING = 0.6
"""And at least this share of them."""
MIN_COVISIBLE = 0.02
"""Pairs that share less of the picture than this say nothing."""
PIXELS = 4096
"""Pixels of the first frame that are moved, about; spread evenly."""


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


class Pair(NamedTuple):
    """Two frames: `depth` (2, H, W), `intrinsics` (2, 3, 3), `cam2world` (2, 4, 4)."""

    depth: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]


def _inverse(poses: Poses) -> Poses:
    return np.asarray(np.linalg.inv(poses))


def _scaled(factor: float) -> Callable[[Poses], Poses]:
    def scale(poses: Poses) -> Poses:
        result = poses.copy()
        result[:, :3, 3] *= factor
        return result

    return scale


UNDONE: dict[str, Callable[[Poses], Poses]] = {
    "the poses had OpenGL axes (y up, z backwards) where OpenCV's are declared, or the other way round": (
        lambda poses: poses @ OPENGL_TO_OPENCV
    ),
    "the poses were world-to-camera instead of camera-to-world": _inverse,
    "the poses were world-to-camera, with OpenGL axes": lambda poses: _inverse(poses) @ OPENGL_TO_OPENCV,
    **{
        f"the lengths in the poses were {factor:g} times what they are": _scaled(factor)
        for factor in (0.001, 0.01, 0.1, 10.0, 100.0, 1000.0)
    },
}
"""What would have to be true -> what undoes the mistake."""


def find_mistake(pairs: Sequence[Pair], tolerance: float) -> str | None:
    """Return a sentence about the mistake whose undoing lets depth agree far better, None if there is none.

    Args:
        pairs: frames with valid poses whose cameras moved between them.
        tolerance: relative depth difference that counts as agreement.
    """
    own = _agreement(pairs, tolerance, lambda poses: poses)
    shares = {what: _agreement(pairs, tolerance, undo) for what, undo in UNDONE.items()}
    what = max(shares, key=lambda name: shares[name])
    if shares[what] < max(CONVINCING, own + MARGIN):
        return None
    return (
        f"depth and poses don't fit: {own:.0%} of co-visible pixels agree, but {shares[what]:.0%} if {what}; "
        "correct the raw data or its description"
    )


def _agreement(pairs: Sequence[Pair], tolerance: float, change: Callable[[Poses], Poses]) -> float:
    """Median share of pixels that agree; pairs that don't meet under these poses count as 0."""
    found = []
    for pair in pairs:
        poses = change(pair.cam2world.astype(np.float64))
        thin = np.zeros_like(pair.depth[0])
        step = max(1, int(np.sqrt(thin.size / PIXELS)))
        thin[::step, ::step] = pair.depth[0][::step, ::step]
        k = (pair.intrinsics[0], pair.intrinsics[1])
        result = reproject(thin, pair.depth[1], k, (poses[0], poses[1]), tolerance=tolerance)
        met = result.covisible >= MIN_COVISIBLE * (thin > 0).sum()
        found.append(result.depth if met else 0.0)
    return float(np.median(found)) if found else 0.0
