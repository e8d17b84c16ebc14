"""How well two sets of camera poses agree once rotation, scale and shift between their worlds are removed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.float64]


class Agreement(NamedTuple):
    """What is left after the best similarity.

    Attributes:
        frames: cameras compared.
        rotation_deg: median angle between orientations, degrees.
        ate: root mean square distance of camera centres, in units of the target; None if the scale is unknown.
        ate_relative: `ate` divided by the root mean square distance of the target's centres from their mean.
        scale: length in the target's world per length in the source's; None if either camera stands still.
    """

    frames: int
    rotation_deg: float
    ate: float | None
    ate_relative: float | None
    scale: float | None


def agreement(source: Poses, target: Poses) -> Agreement | None:
    """Align camera-to-world poses of the same frames and measure what remains.

    The rotation comes from the orientations (chordal mean), not from the path, so that cameras on one line are
    no special case; scale and shift are least squares on the centres.

    Args:
        source: (n, 4, 4) valid poses, for example COLMAP's.
        target: (n, 4, 4) valid poses of the same frames, for example a teacher's.

    Returns:
        None with fewer than two frames.
    """
    if len(source) < 2:
        return None
    mean = np.einsum("nij,nkj->ik", target[:, :3, :3], source[:, :3, :3])
    u, _, vt = np.linalg.svd(mean)
    rotation = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    turned = rotation @ source[:, :3, :3]
    # The angle by its chord: exact for small angles, where the arc cosine of the trace is not.
    chord = np.linalg.norm(turned - target[:, :3, :3], axis=(1, 2)) / (2 * np.sqrt(2))
    angles = np.degrees(2 * np.arcsin(np.clip(chord, 0, 1)))
    a = source[:, :3, 3] - source[:, :3, 3].mean(axis=0)
    b = target[:, :3, 3] - target[:, :3, 3].mean(axis=0)
    a = a @ rotation.T
    spread = float(np.sqrt((b**2).sum(axis=1).mean()))
    if spread <= 1e-6 or float((a**2).sum()) <= 1e-12:
        return Agreement(len(source), float(np.median(angles)), None, None, None)
    scale = max(0.0, float((a * b).sum() / (a**2).sum()))  # paths that run against each other share no scale
    ate = float(np.sqrt(((scale * a - b) ** 2).sum(axis=1).mean()))
    return Agreement(len(source), float(np.median(angles)), ate, ate / spread, scale)
