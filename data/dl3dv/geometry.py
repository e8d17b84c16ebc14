"""What a teacher is shown of a clip and what it returns: cameras, and depth at the query positions.

Two sets of poses agree as far as a rotation, a scale and a shift between their worlds take one to the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.dl3dv.lens import Lens
from data.dl3dv.scenes import Parts

Poses = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Footage:
    """One window of a scene as it will be stored, and what `transforms.json` holds about it.

    Attributes:
        clip_id: for messages.
        parts: the scene's files.
        frames: T encoded JPEG images.
        frame_size: (height, width).
        stems: T names of the raw images without ending.
        query: the positions that get dense ground truth, increasing.
        lens: of the stored frames; None if nothing is known about it.
        poses: (T, 4, 4) float64 camera-to-world in COLMAP's world, NaN where a frame is not registered.
        registered: (T,) bool.
        digest: SHA-256 over all stored frames.
    """

    clip_id: str
    parts: Parts
    frames: Sequence[bytes]
    frame_size: tuple[int, int]
    stems: Sequence[str]
    query: Sequence[int]
    lens: Lens | None
    poses: NDArray[np.float64]
    registered: NDArray[np.bool_]
    digest: str


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """What a teacher knows of a clip.

    Attributes:
        kind: name for the index, "none" where there are no poses.
        size: (height, width) that `intrinsics` and `depth` refer to.
        intrinsics: (T, 3, 3) float32.
        cam2world: (T, 4, 4) float32, NaN where not `valid`.
        valid: (T,) bool.
        depth: (G, H, W) float32 at the query positions, 0 = unknown; None without depth.
        depth_step: as in `data.dataset.clip.Clip`.
        confidence: (G, H, W) float16 in [0, 1]; None means sure.
        warnings: one sentence each.
    """

    kind: str
    size: tuple[int, int]
    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]
    valid: NDArray[np.bool_]
    depth: NDArray[np.float32] | None = None
    depth_step: float | None = None
    confidence: NDArray[np.float16] | None = None
    warnings: Sequence[str] = ()


class Teacher(Protocol):
    """Somebody who knows the geometry of a clip. Must survive pickling."""

    def parameters(self) -> Mapping[str, Any]:
        """Return what changes its answers, JSON types only."""

    def geometry(self, footage: Footage) -> Geometry:
        """Return the geometry of a clip.

        Raises:
            DatasetError: what it needs of this clip is missing or broken.
            ModelError: it can't work at all.
        """


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
