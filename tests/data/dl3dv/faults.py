"""Faults for DL3DV scenes: each breaks the files of one scene as they break in practice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.dl3dv.scenes import ORACLE
from data.dl3dv.teachers import CAMERAS
from data.dl3dv.transforms import NAME

CUT = 200
"""Bytes that are left of a file that is cut off."""
PLACE = 5
"""Which frame, or which entry of `transforms.json`, a fault hits."""


@dataclass(frozen=True)
class Fault:
    """One fault: what is wrong, in a few words, and what it does to a scene's folder."""

    about: str
    break_: Callable[[Path], object]


def _frame(folder: Path) -> Path:
    return sorted(next(folder.glob("images*")).iterdir())[PLACE]


def _edit(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / NAME
        content = json.loads(path.read_bytes())
        change(content)
        path.write_text(json.dumps(content, indent=1))

    return edit


def _entry(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    return _edit(lambda content: change(content["frames"][PLACE]))


def _pose(matrix: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    def change(frame: dict[str, Any]) -> None:
        frame["transform_matrix"] = matrix(np.array(frame["transform_matrix"])).tolist()

    return _entry(change)


def _path(value: str) -> Callable[[Path], None]:
    return _entry(lambda frame: frame.update(file_path=value))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:CUT])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(bytes(content))


def _swap_size(content: dict[str, Any]) -> None:
    content["w"], content["h"] = content["h"], content["w"]
    content["cx"], content["cy"] = content["cy"], content["cx"]


def _duplicate(content: dict[str, Any]) -> None:
    content["frames"].append(dict(content["frames"][PLACE]))


def _other_size(folder: Path) -> None:
    path = _frame(folder)
    with Image.open(path) as image:
        image.resize((image.width // 2, image.height // 2)).save(path)


def _sixteen_bit(folder: Path) -> None:
    path = _frame(folder)
    with Image.open(path) as image:
        Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257).save(path)


def _escaping_link(folder: Path) -> None:
    path = _frame(folder)
    path.unlink()
    path.symlink_to("../../../../outside.png")


def _lose_listed(folder: Path) -> None:
    listed = json.loads((folder / NAME).read_bytes())["frames"][PLACE]["file_path"]
    (next(folder.glob("images*")) / Path(listed).name).unlink()


def _lose_all(folder: Path) -> None:
    for path in next(folder.glob("images*")).iterdir():
        path.unlink()


def _short(folder: Path) -> None:
    kept = {path.stem for path in sorted(next(folder.glob("images*")).iterdir())[:5]}
    for path in next(folder.glob("images*")).iterdir():
        if path.stem not in kept:
            path.unlink()
    _edit(lambda content: content.update(frames=[f for f in content["frames"] if Path(f["file_path"]).stem in kept]))(
        folder
    )


def _nothing_registered(content: dict[str, Any]) -> None:
    for frame in content["frames"]:
        frame["transform_matrix"] = None


MIRROR = np.diag([1.0, -1.0, 1.0, 1.0])
FAULTS: dict[str, Fault] = {
    "nan_json": Fault("NaN among the intrinsics", _edit(lambda content: content.update(fl_x=float("nan")))),
    "text_intrinsics": Fault("a focal length in quotes", _edit(lambda content: content.update(fl_x="600"))),
    "no_intrinsics": Fault("no focal length", _edit(lambda content: content.pop("fl_x"))),
    "unknown_model": Fault("an unknown lens", _edit(lambda content: content.update(camera_model="EQUIRECTANGULAR"))),
    "truncated_json": Fault("transforms.json is cut off", lambda folder: _cut(folder / NAME)),
    "empty_json": Fault("transforms.json is empty", lambda folder: (folder / NAME).write_bytes(b"")),
    "no_json": Fault("transforms.json is missing", lambda folder: (folder / NAME).unlink()),
    "turned_json": Fault("transforms.json describes turned frames", _edit(_swap_size)),
    "duplicate_path": Fault("an image is listed twice", _edit(_duplicate)),
    "escaping_path": Fault("a file_path leads out of the folder", _path("../../../etc/passwd.png")),
    "absolute_path": Fault("a file_path is absolute", _path("/etc/passwd.png")),
    "null_pose": Fault("poses are null", _edit(_nothing_registered)),
    "nan_pose": Fault("a pose is NaN", _pose(lambda pose: pose * float("nan"))),
    "mirrored_pose": Fault("a pose mirrors the world", _pose(lambda pose: pose @ MIRROR)),
    "scaled_pose": Fault("a pose scales the world", _pose(lambda pose: pose @ np.diag([1.1, 1.1, 1.1, 1.0]))),
    "missing_image": Fault("an image is missing", _lose_listed),
    "empty_image": Fault("an image has zero bytes", lambda folder: _frame(folder).write_bytes(b"")),
    "truncated_image": Fault("an image is cut off", lambda folder: _cut(_frame(folder))),
    "flipped_image": Fault("a bit of an image is flipped", lambda folder: _flip(_frame(folder))),
    "other_size": Fault("an image has another size", _other_size),
    "deep_image": Fault("an image has 16 bits per channel", _sixteen_bit),
    "escaping_link": Fault("an image is a link out of the raw data", _escaping_link),
    "no_images": Fault("no images at all", _lose_all),
    "short": Fault("five frames", _short),
    "no_depth": Fault(
        "the stored truth lacks a frame", lambda folder: sorted((folder / ORACLE / "depth").iterdir())[0].unlink()
    ),
    "nan_truth": Fault(
        "the stored truth is not JSON", lambda folder: (folder / ORACLE / CAMERAS).write_text('{"width": NaN}')
    ),
}
"""Name of each fault; `short` is refused by a rule of the importer, the last two matter only to `teacher=oracle`."""


def broken_copy(scene: Path, name: str, fault: str) -> None:
    """Copy a scene beside itself under another name, and build a fault into the copy."""
    copy = scene.with_name(name)
    shutil.copytree(scene, copy)
    FAULTS[fault].break_(copy)
