"""Frequent mistakes in cameras, tried out: would one of them explain the depth of a clip better than its own cameras?

How much of the depth of two frames agrees says little by itself: over short baselines wrong axes or units move pixels
only a little, and sensors are noisy. But a mistake that was made shows as soon as it is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.look.reprojection import reproject

Poses = NDArray[np.float64]
FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenCV axes to OpenGL axes of a camera, and back."""
MARGIN = 0.1
"""A mistake counts as found if undoing it lets this share of co-visible pixels more agree."""
CONVINCING = 0.6
"""And at least this share of them."""
MIN_COVISIBLE = 0.02
"""Pairs that share less of the picture than this say nothing."""
PIXELS = 4096
"""Pixels of the first frame that are moved, about; spread evenly."""


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
        lambda poses: poses @ FLIP
    ),
    "the poses were world-to-camera instead of camera-to-world": _inverse,
    "the poses were world-to-camera, with OpenGL axes": lambda poses: _inverse(poses) @ FLIP,
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
        "mend the raw data or its description"
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
