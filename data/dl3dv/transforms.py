"""Reads `transforms.json` (nerfstudio's format): one lens, and poses in OpenCV axes and COLMAP's world.

The file gives intrinsics at full size and camera-to-world poses with OpenGL axes (y up, z backwards) in a world that
`applied_transform` and `applied_scale` moved away from COLMAP's. Both are undone here: right-multiplication by
diag(1, -1, -1, 1), and left-multiplication by the inverse of the applied transform.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dataset.check import OPENGL_TO_OPENCV, check_poses
from data.dl3dv.lens import Lens
from data.raw.folder import check_name, parse_json

NAME = "transforms.json"
MODELS = {
    "PINHOLE": False,
    "SIMPLE_PINHOLE": False,
    "SIMPLE_RADIAL": False,
    "RADIAL": False,
    "OPENCV": False,
    "OPENCV_FISHEYE": True,
}
_USED = {
    "PINHOLE": (),
    "SIMPLE_PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "k3", "k4", "p1", "p2"),
    "OPENCV_FISHEYE": ("k1", "k2", "k3", "k4"),
}
_LENS_KEYS = (
    "w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "k3", "k4", "p1", "p2", "camera_model", "camera_angle_x",
    "camera_angle_y",
)  # fmt: skip
FIX = "fetch this transforms.json again, or move the scene's folder away"


@dataclass(frozen=True)
class Transforms:
    """The cameras of a scene.

    Attributes:
        lens: at the full size of the recording, not of the frames in `images_4`; None if the file has only angles.
        poses: stem of an image's name -> (4, 4) float64 camera-to-world, OpenCV axes, COLMAP's world and scale.
        angles: angles of view along width and height, radians, of a pinhole whose size the file doesn't give; the
            second is None where pixels are square.
    """

    lens: Lens | None
    poses: Mapping[str, NDArray[np.float64]]
    angles: tuple[float, float | None] | None = None

    def lens_at(self, height: int, width: int) -> Lens:
        """Return the lens at full size, that of frames of this size if the file has only angles."""
        if self.lens is not None:
            return self.lens
        assert self.angles is not None
        return _pinhole(width, height, *self.angles)


def read_transforms(content: bytes, where: Path) -> Transforms:
    """Return the cameras in a `transforms.json`.

    Args:
        content: the file.
        where: its path, for messages.

    Raises:
        DatasetError: not JSON; NaN, missing or wrong values; duplicate or escaping `file_path`s; poses that are not
            rigid. Nothing is repaired. The message names the place in the file.
    """
    value = parse_json(content, where)
    if not isinstance(value, dict):
        _refuse(where, "not a scene's cameras", "a JSON object", type(value).__name__)
    return parse_transforms(value, where)


def parse_transforms(content: Mapping[str, Any], path: Path) -> Transforms:
    """Return the cameras of a parsed file; `path` is for messages. Raises as `read_transforms`."""
    undo, scale = _applied(content, path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        _refuse(path, "frames is not a list of frames", "at least one frame", type(frames).__name__)
    first = frames[0] if isinstance(frames[0], dict) else {}
    repeated = [name for name in _LENS_KEYS if name in first and name not in content]
    camera = {name: first[name] for name in repeated} | {n: content[n] for n in _LENS_KEYS if n in content}
    poses: dict[str, NDArray[np.float64]] = {}
    for i, frame in enumerate(frames):
        key = f"frames[{i}]"
        if not isinstance(frame, dict):
            _refuse(path, f"{key} is not an object", "file_path and transform_matrix", type(frame).__name__)
        own = [
            name for name in _LENS_KEYS if frame.get(name) != camera.get(name) and (name in frame or name in repeated)
        ]
        if own:
            raise DatasetError(
                f"{key} has its own camera", expected="one camera for the whole scene", found=", ".join(own),
                where=path, fix="import it with kind=video, whose manifest takes a camera for every pose",
            )  # fmt: skip
        stem = _stem(frame.get("file_path"), f"{key}.file_path", path)
        if stem in poses:
            _refuse(path, f"{key}.file_path is listed twice", "one entry per image", frame["file_path"])
        pose = _matrix(frame.get("transform_matrix"), (4, 4), f"{key}.transform_matrix", path)
        _check_rigid(pose, f"{key}.transform_matrix", path)
        pose[:3, 3] /= scale
        poses[stem] = undo @ pose @ OPENGL_TO_OPENCV
    if "fl_x" not in camera and "camera_angle_x" in camera:
        angles = _angles(camera, path)
        if not {"w", "h"} & camera.keys():
            return Transforms(None, poses, angles)
        camera |= _fields(camera, angles, path)
    return Transforms(_lens(camera, path), poses)


def _lens(content: Mapping[str, Any], path: Path) -> Lens:
    model = content.get("camera_model", "OPENCV")
    if model not in MODELS:
        _refuse(path, "unknown camera_model", ", ".join(MODELS), repr(model))
    width, height = (_number(content.get(key), key, path) for key in ("w", "h"))
    if not (width >= 1 and height >= 1 and width == int(width) and height == int(height)):
        _refuse(path, "w and h are not the size of a picture", "whole numbers above 0", f"{width} x {height}")
    fx, fy, cx, cy = (_number(content.get(key), key, path) for key in ("fl_x", "fl_y", "cx", "cy"))
    if fx <= 0 or fy <= 0:
        _refuse(path, "fl_x and fl_y must be above 0", "focal lengths in pixels", f"{fx}, {fy}")
    if not (0 < cx < width and 0 < cy < height):
        _refuse(path, "the principal point lies outside the picture", f"within {width} x {height}", f"{cx}, {cy}")
    coefficients = {k: _number(content.get(k, 0.0), k, path) for k in ("k1", "k2", "k3", "k4", "p1", "p2")}
    unused = [key for key, value in coefficients.items() if value != 0 and key not in _USED[model]]
    if unused:
        _refuse(path, f"camera_model {model} has no {unused[0]}", "0 or another camera_model", coefficients[unused[0]])
    k1, k2, k3, k4, p1, p2 = coefficients.values()
    return Lens(int(width), int(height), fx, fy, cx, cy, MODELS[model], (k1, k2, k3, k4), (p1, p2))


def _angles(camera: Mapping[str, Any], path: Path) -> tuple[float, float | None]:
    """Angles of view of a file that gives no focal lengths, as of rendered scenes."""
    known = [name for name in ("camera_angle_x", "camera_angle_y") if name in camera]
    values = [_number(camera[name], name, path) for name in known]
    for name, value in zip(known, values, strict=True):
        if not 0 < value < math.pi:
            _refuse(path, f"{name} is not an angle of view", "radians between 0 and pi", value)
    distorted = [name for name in ("k1", "k2", "k3", "k4", "p1", "p2") if camera.get(name)]
    if distorted:
        _refuse(path, f"{distorted[0]} needs focal lengths", "fl_x and fl_y", "camera_angle_x alone")
    return values[0], values[1] if len(values) > 1 else None


def _fields(camera: Mapping[str, Any], angles: tuple[float, float | None], path: Path) -> dict[str, float]:
    """Focal lengths of angles at the size in the file, and the principal point in the middle unless given."""
    width, height = (_number(camera.get(key), key, path) for key in ("w", "h"))
    lens = _pinhole(int(width), int(height), *angles)
    middle = {"cx": camera.get("cx", lens.cx), "cy": camera.get("cy", lens.cy)}
    return {"fl_x": lens.fx, "fl_y": lens.fy, **middle}


def _pinhole(width: int, height: int, across: float, down: float | None) -> Lens:
    fx = 0.5 * width / math.tan(across / 2)
    fy = fx if down is None else 0.5 * height / math.tan(down / 2)
    return Lens(width, height, fx, fy, width / 2, height / 2)


def _applied(content: Mapping[str, Any], path: Path) -> tuple[NDArray[np.float64], float]:
    """Return the inverse of `applied_transform`, (4, 4), and `applied_scale`."""
    scale = _number(content.get("applied_scale", 1.0), "applied_scale", path)
    if scale <= 0:
        _refuse(path, "applied_scale must be above 0", "a positive number", scale)
    if "applied_transform" not in content:
        return np.eye(4), scale
    rows = content["applied_transform"]
    shape = (4, 4) if isinstance(rows, list) and len(rows) == 4 else (3, 4)
    applied = np.eye(4)
    applied[: shape[0]] = _matrix(rows, shape, "applied_transform", path)
    _check_rigid(applied, "applied_transform", path)
    return np.asarray(np.linalg.inv(applied)), scale


def _stem(value: object, key: str, path: Path) -> str:
    if not isinstance(value, str):
        _refuse(path, f"{key} is not the path of an image", "images/frame_00001.png", _shorten(value))
    return check_name(value, f"{path}: {key}").stem


def _number(value: object, key: str, path: Path) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(path, f"{key} is not a number", "a finite number", "nothing" if value is None else repr(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        _refuse(path, f"{key} is not finite", "a finite number", number)
    return number


def _matrix(value: object, shape: tuple[int, int], key: str, path: Path) -> NDArray[np.float64]:
    rows = value if isinstance(value, list) else []
    if len(rows) != shape[0] or any(not isinstance(row, list) or len(row) != shape[1] for row in rows):
        _refuse(path, f"{key} is not a matrix", f"{shape[0]} rows of {shape[1]} numbers", _shorten(value))
    return np.array([[_number(x, f"{key}[{i}][{j}]", path) for j, x in enumerate(row)] for i, row in enumerate(rows)])


def _check_rigid(matrix: NDArray[np.float64], key: str, path: Path) -> None:
    """Refuse a (4, 4) matrix that is not a rotation and a translation: nothing is repaired."""
    reason = check_poses(matrix[None])[1][0]
    if reason:
        _refuse(
            path, f"{key} is not a rigid motion: {reason}", "a rotation and a translation", np.round(matrix, 4).tolist()
        )


def _shorten(value: object) -> str:
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _refuse(path: Path, problem: str, expected: object, found: object) -> NoReturn:
    raise DatasetError(problem, expected=expected, found=found, where=path, fix=FIX)
