"""The teachers that read instead of think: none, COLMAP's poses, and the stored truth of emitted rooms.

    <hash>/oracle/cameras.json      {"width", "height", "matrix": 3x3, "cam2world": {stem: 4x4, OpenCV axes, metres}}
    <hash>/oracle/depth/<stem>.png  z in the camera frame of that pinhole, 16-bit millimetres, 0 = unknown

Any scene with a folder `oracle` can be used, for example one recorded with a depth sensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs import commands
from configs.errors import DatasetError, SpatialprobeError
from data.dataset.check import check_poses
from data.dl3dv.geometry import Footage, Geometry
from data.dl3dv.lens import Lens, resample, sampling
from data.dl3dv.scenes import Parts
from data.dl3dv.transforms import NAME
from data.raw.folder import parse_json
from data.raw.images import read_depth

NOMINAL_FOV = 60.0
"""Angle of view along the longer side, degrees, where nothing is known about the camera."""
CAMERAS = "cameras.json"
MILLIMETRES = 1000.0
FIX = f"emit the rooms again with `{commands.data('emit', format='dl3dv', out=commands.ANY)}`, or add teacher=colmap"


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
            intrinsics=lens.matrices(count),
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
            intrinsics=footage.lens.matrices(len(footage.frames)),
            cam2world=footage.poses.astype(np.float32),
            valid=footage.registered,
        )


def nominal_lens(height: int, width: int) -> Lens:
    """Return the lens assumed for frames of an unknown camera."""
    focal = 0.5 * max(height, width) / math.tan(math.radians(NOMINAL_FOV) / 2)
    return Lens(width, height, focal, focal, width / 2, height / 2)


class OracleTeacher:
    """Reads exact poses in metres and depth in millimetres; looks through the lens of the stored frames."""

    def parameters(self) -> Mapping[str, Any]:
        """Return nothing: there is nothing to choose."""
        return {}

    def geometry(self, footage: Footage) -> Geometry:
        """Return the stored truth of a clip.

        Raises:
            DatasetError: the scene has no stored truth, or it is broken.
        """
        parts = footage.parts
        folder = parts.oracle
        if folder is None:
            raise DatasetError("this scene has no stored truth", where=footage.clip_id, expected="oracle/", fix=FIX)
        pinhole, poses = _read_cameras(parts, folder / CAMERAS)
        missing = [stem for stem in footage.stems if stem not in poses]
        if missing:
            raise DatasetError("the stored truth lacks a frame", found=missing[0], where=folder / CAMERAS, fix=FIX)
        size = (pinhole.height, pinhole.width)
        lens = pinhole if footage.lens is None else footage.lens.resized(pinhole.width, pinhole.height)
        where = None if np.allclose(lens.matrix, pinhole.matrix) and not lens.distorted else sampling(lens, pinhole)
        depth = np.stack(
            [_read_depth(parts, folder / "depth" / f"{footage.stems[p]}.png", size) for p in footage.query]
        )
        if where is not None:
            depth = np.stack([resample(image, where, nearest=True) for image in depth])
        count = len(footage.frames)
        return Geometry(
            kind="oracle",
            size=size,
            intrinsics=lens.matrices(count),
            cam2world=np.stack([poses[stem] for stem in footage.stems]).astype(np.float32),
            valid=np.ones(count, np.bool_),
            depth=depth,
            depth_step=1 / MILLIMETRES,
        )


def _read_cameras(parts: Parts, path: Path) -> tuple[Lens, dict[str, NDArray[np.float64]]]:
    try:
        content = parse_json(parts.read(path), path)
        matrix = np.array(content["matrix"], np.float64)
        stems = [str(stem) for stem in content["cam2world"]]
        poses = np.array(list(content["cam2world"].values()), np.float64)
        width, height = int(content["width"]), int(content["height"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, SpatialprobeError):
            raise
        problem = f"not the stored cameras: {type(error).__name__}: {error}"
        raise DatasetError(problem, where=path, fix=FIX) from error
    if matrix.shape != (3, 3) or min(matrix[0, 0], matrix[1, 1], width, height) <= 0:
        raise DatasetError("the stored matrix is not a camera matrix", found=matrix.tolist(), where=path, fix=FIX)
    if poses.shape != (len(stems), 4, 4):
        raise DatasetError("the stored poses are not 4x4", found=poses.shape, where=path, fix=FIX)
    for stem, reason in zip(stems, check_poses(poses)[1], strict=True):
        if reason:
            raise DatasetError(f"the stored pose of {stem} is not rigid: {reason}", where=path, fix=FIX)
    fx, fy, cx, cy = (float(x) for x in (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]))
    return Lens(width, height, fx, fy, cx, cy), dict(zip(stems, poses, strict=True))


def _read_depth(parts: Parts, path: Path, size: tuple[int, int]) -> NDArray[np.float32]:
    return (read_depth(parts.read(path), path, size=size) / MILLIMETRES).astype(np.float32)
