"""The teachers that read instead of think: none, COLMAP's poses, the stored truth of emitted rooms."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.geometry import Footage, Geometry, Teacher
from data.dl3dv.lens import Lens
from data.dl3dv.transforms import NAME

NOMINAL_FOV = 60.0
"""Angle of view along the longer side, degrees, where nothing is known about the camera."""


def teacher_of(config: DL3DVConfig) -> Teacher:
    """Return the teacher that `teacher=` names.

    Raises:
        ModelError: its weights or its package are missing.
    """
    if config.teacher == "vggt":
        from data.dl3dv.vggt import VggtTeacher

        return VggtTeacher(config.checkpoint, config.revision, config.teacher_side, config.device)
    if config.teacher == "oracle":
        from data.dl3dv.oracle import OracleTeacher

        return OracleTeacher()
    return ColmapTeacher() if config.teacher == "colmap" else NoTeacher()


class NoTeacher:
    """Knows no poses; the lens is that of `transforms.json`, or a nominal one."""

    def parameters(self) -> Mapping[str, Any]:
        """Return nothing: there is nothing to choose."""
        return {}

    def geometry(self, footage: Footage) -> Geometry:
        """Return intrinsics alone, all poses invalid."""
        count, warnings = len(footage.frames), []
        lens = footage.lens
        if lens is None:
            lens = nominal_lens(*footage.frame_size)
            warnings = [f"no {NAME}: intrinsics are nominal, {NOMINAL_FOV:g} degrees along the longer side"]
        return Geometry(
            kind="none",
            size=footage.frame_size,
            intrinsics=repeated(lens, count),
            cam2world=np.full((count, 4, 4), np.nan, np.float32),
            valid=np.zeros(count, np.bool_),
            warnings=warnings,
        )


class ColmapTeacher:
    """Knows the poses of `transforms.json`, in COLMAP's world and arbitrary scale, and no depth."""

    def parameters(self) -> Mapping[str, Any]:
        """Return nothing: there is nothing to choose."""
        return {}

    def geometry(self, footage: Footage) -> Geometry:
        """Return lens and poses.

        Raises:
            DatasetError: the scene has no `transforms.json`, or none of the frames is in it.
        """
        if footage.lens is None:
            raise DatasetError(
                f"this scene has no {NAME}", where=footage.clip_id, expected="COLMAP's cameras",
                fix="fetch the scene again, or add teacher=none",
            )  # fmt: skip
        if not footage.registered.any():
            raise DatasetError(
                f"no frame of this clip is in {NAME}", where=footage.parts.transforms, found=f"{footage.stems[0]}, ...",
                fix="add teacher=none, or fetch the scene again",
            )  # fmt: skip
        return Geometry(
            kind="colmap",
            size=footage.frame_size,
            intrinsics=repeated(footage.lens, len(footage.frames)),
            cam2world=footage.poses.astype(np.float32),
            valid=footage.registered,
        )


def nominal_lens(height: int, width: int) -> Lens:
    """Return the lens assumed for frames of an unknown camera."""
    focal = 0.5 * max(height, width) / math.tan(math.radians(NOMINAL_FOV) / 2)
    return Lens(width, height, focal, focal, width / 2, height / 2)


def repeated(lens: Lens, count: int) -> NDArray[np.float32]:
    """Return the matrix of a lens `count` times, (count, 3, 3)."""
    return np.repeat(lens.matrix[None], count, axis=0)
