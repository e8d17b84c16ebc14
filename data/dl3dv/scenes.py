"""Which scenes a raw folder holds, what lies in a scene's folder, and which of its frames become clips."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.console import get_logger
from configs.errors import DatasetError, MissingError
from configs.files import sha256_file
from data.dl3dv.transforms import NAME
from data.raw.folder import RawFolder, sizes_of
from data.raw.listing import list_pictures

log = get_logger("data.dl3dv")
HOMES = ("", "colmap", "nerfstudio")
"""Where in a scene's folder its parts may lie: directly, or in one of these."""
FOLDERS = ("images_4", "images_8", "images_2", "images")
"""What `images=auto` tries, in this order."""
VIDEOS = (".mp4", ".mov", ".mkv", ".webm", ".avi")
ORACLE = "oracle"
"""Folder beside the frames with the truth of an emitted room; see docs/import-dl3dv.md."""


@dataclass(frozen=True)
class Scene:
    """One scene: the hash that names its folder, and the folder."""

    name: str
    folder: Path


@dataclass(frozen=True)
class Parts:
    """What a scene's folder holds.

    Attributes:
        frames: folder of the images, or None.
        video: the video file, or None.
        transforms: the cameras, or None.
        oracle: the folder of stored truth, or None.
        root: folder of the raw data, outside which nothing is read.
    """

    frames: Path | None
    video: Path | None
    transforms: Path | None
    oracle: Path | None
    root: Path

    def read(self, path: Path) -> bytes:
        """Return the content of one of the files.

        Raises:
            MissingError: there is none.
            DatasetError: not a regular file, or a link on the way leads out of the raw data.
        """
        return RawFolder(self.root).read(path.relative_to(self.root))


def find_scenes(raw: Path) -> list[Scene]:
    """Return the scenes below a folder: `<raw>`, `<raw>/<hash>` or `<raw>/<batch>/<hash>`, sorted by hash.

    Links that lead out of `raw` are not followed.

    Raises:
        DatasetError: there are none, or two have one hash.
    """
    if not raw.is_dir():
        raise DatasetError("raw data of DL3DV is a folder", found="a file", where=raw, fix="give its folder as raw=")
    root = raw.resolve()
    found = [raw] if _is_scene(raw) else []
    if not found:
        for child in _folders(raw, root):
            inner = [child] if _is_scene(child) else _folders(child, root)
            found += [folder for folder in inner if _is_scene(folder)]
            _warn_of_others(child, [folder for folder in inner if not _is_scene(folder)])
    scenes: dict[str, Scene] = {}
    for folder in found:
        name = folder.resolve().name
        if name in scenes:
            raise DatasetError(
                f"scene {name} is there twice", expected="every hash once", found=str(scenes[name].folder),
                where=folder, fix="move one of them away",
            )  # fmt: skip
        scenes[name] = Scene(name, folder)
    if not scenes:
        zipped = next(raw.glob("*/*.zip"), None) or next(raw.glob("*.zip"), None)
        raise DatasetError(
            "no scenes here", expected=f"<batch>/<hash>/ with images_4/ and {NAME}", where=raw,
            found=f"{zipped.name} and other archives" if zipped else "other files",
            fix=f"unzip {zipped} -d {zipped.parent}" if zipped else "check the path given as raw=",
        )  # fmt: skip
    return [scenes[name] for name in sorted(scenes)]


def choose_scenes(scenes: list[Scene], wanted: list[str]) -> list[Scene]:
    """Return the scenes asked for, all of them if none is named.

    Raises:
        MissingError: one of the names is not there.
    """
    by_name = {scene.name: scene for scene in scenes}
    for name in wanted:
        if name not in by_name:
            raise MissingError(
                f"no scene {name!r} in the raw data", expected=f"one of {len(scenes)}, for example {scenes[0].name}",
                fix="check scenes=",
            )  # fmt: skip
    return [by_name[name] for name in sorted(set(wanted))] if wanted else scenes


def parts_of(scene: Scene, images: str, root: Path) -> Parts:
    """Return the parts of a scene that an import with `images=` uses.

    Args:
        scene: one of `find_scenes`.
        images: "auto", "video" or the name of a folder of frames.
        root: folder of the raw data.

    Raises:
        DatasetError: the frames (or the video) asked for are not there.
    """
    homes = [scene.folder / home for home in HOMES]
    if images == "video":
        videos = sorted(p for home in homes if home.is_dir() for p in home.iterdir() if p.suffix.lower() in VIDEOS)
        if len(videos) != 1:
            raise DatasetError(
                "this scene has no video" if not videos else "this scene has several videos", expected="one video file",
                found=", ".join(p.name for p in videos) or None, where=scene.folder, fix="add images=auto",
            )  # fmt: skip
        frames, video, home = None, videos[0], videos[0].parent
    else:
        names = FOLDERS if images == "auto" else (images,)
        frames = next((home / name for name in names for home in homes if (home / name).is_dir()), None)
        if frames is None:
            there = sorted({p.name for home in homes if home.is_dir() for p in home.iterdir()} & set(FOLDERS))
            raise DatasetError(
                f"this scene has no folder {' or '.join(names)}", found=", ".join(there) or "no frames",
                where=scene.folder, fix="add images=auto, or fetch the scene again",
            )  # fmt: skip
        video, home = None, frames.parent
    cameras = next((h / NAME for h in (home, *homes) if (h / NAME).is_file()), None)
    oracle = next((h / ORACLE for h in (home, *homes) if (h / ORACLE).is_dir()), None)
    return Parts(frames, video, cameras, oracle, root)


def list_frames(folder: Path, root: Path) -> tuple[list[Path], tuple[str, ...]]:
    """Return the images of a folder in recording order, `frame_2` before `frame_10`, and what else is in it.

    Raises:
        DatasetError: no images, two that differ only in their ending, or a link that leads out of `root`.
    """
    found = list_pictures(RawFolder(root), folder.relative_to(root))
    if not found.names:
        raise DatasetError("no images here", expected="frame_00001.png and so on", where=folder, fix="fetch it again")
    return [folder / name for name in found.names], found.left_out


def scene_files(scene: Scene, images: str, root: Path) -> list[list[Any]]:
    """Return names and sizes of the files that a scene's clips are made from, and digests of its cameras.

    Raises:
        DatasetError: as `parts_of`.
    """
    parts = parts_of(scene, images, root)
    oracle = [] if parts.oracle is None else [parts.oracle / "depth"]
    files = sizes_of([parts.video or parts.frames or scene.folder, *oracle])
    cameras = [parts.transforms, None if parts.oracle is None else parts.oracle / "cameras.json"]
    return files + [[path.name, sha256_file(path)] for path in cameras if path is not None and path.is_file()]


def number_of(file: Path | str) -> int:
    """Return the last number in a file's name, 0 if it has none."""
    numbers = re.findall(r"[0-9]{1,15}", Path(file).stem)
    return int(numbers[-1]) if numbers else 0


def _warn_of_others(batch: Path, others: list[Path]) -> None:
    """Warn of what in a batch is not a scene, so that none is lost in silence."""
    if others:
        log.warning("%d folders of %s hold neither images nor %s: %s, ...", len(others), batch, NAME, others[0].name)
    packed = [path.stem for path in batch.glob("*.zip") if not (batch / path.stem).is_dir()]
    if packed:
        log.warning("%d archives of %s are not unpacked: %s.zip, ...", len(packed), batch, packed[0])


def _is_scene(folder: Path) -> bool:
    for home in HOMES:
        place = folder / home
        if (place / NAME).is_file() or any((place / name).is_dir() for name in FOLDERS):
            return True
        if home != "" and place.is_dir() and any(p.suffix.lower() in VIDEOS for p in place.iterdir()):
            return True
    return any(p.suffix.lower() in VIDEOS for p in folder.iterdir())


def _folders(folder: Path, root: Path) -> list[Path]:
    inside = []
    for path in sorted(folder.iterdir()):
        if not path.is_dir() or path.name.startswith("."):
            continue
        if path.resolve().is_relative_to(root):
            inside.append(path)
        else:
            log.warning("%s points outside %s and is left out", path, root)
    return inside


class Window(NamedTuple):
    """A run of consecutive frames: place of the first in the sorted list, and how many."""

    start: int
    length: int


def paper_start(scene: str, frames: int, window: int) -> int:
    """Return where the published protocol's window starts: the same in every run, for every importer.

    The MD5 of the scene's hash seeds a legacy generator. Its upper bound is exclusive, so the last possible start is
    never drawn (published protocol, DL3DV preprocessing).

    Args:
        scene: the hash that names the scene's folder.
        frames: images of the scene.
        window: length of the window; 150 in the paper.
    """
    if frames <= window:
        return 0
    seed = int(hashlib.md5(scene.encode(), usedforsecurity=False).hexdigest()[:8], 16)
    return int(np.random.RandomState(seed).randint(0, frames - window))


def windows(rule: str, scene: str, frames: int, window: int) -> list[Window]:
    """Return the windows of a scene.

    Args:
        rule: `paper`, one window at the published place; `first`, one at the beginning; `all`, as many as fit side by
            side, or the whole scene if it is shorter.
        scene: its hash.
        frames: images of the scene, at least 1.
        window: positions per clip.
    """
    length = min(frames, window)
    if rule == "all":
        return [Window(k * window, length) for k in range(max(1, frames // window))]
    return [Window(paper_start(scene, frames, window) if rule == "paper" else 0, length)]
