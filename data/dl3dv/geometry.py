"""What a teacher is shown of a clip and what it tells: cameras, and depth at the query positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from data.dl3dv.lens import Lens
from data.dl3dv.scenes import Parts


@dataclass(frozen=True, kw_only=True)
class Footage:
    """One window of a scene as it will be stored, and what `transforms.json` says of it.

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
        confidence: (G, H, W) float16 in [0, 1]; None means sure.
        warnings: one sentence each.
    """

    kind: str
    size: tuple[int, int]
    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]
    valid: NDArray[np.bool_]
    depth: NDArray[np.float32] | None = None
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
