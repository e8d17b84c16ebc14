"""Which scans a raw folder holds, their split, their facts, and which of their frames become clips."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError
from data.dataset.splits import halve
from data.raw.folder import RawFolder

SCAN_NAME = re.compile(r"(scene\d{4})_\d{2}")
FOLDERS = ("", "scans", "scans_train", "scans_val")
"""Where scans may lie below the raw folder. `scans_test` is left out: test scans have no public annotation."""
LIST_FOLDERS = ("", "meta_data", "splits", "Tasks/Benchmark")
LISTS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt", "test": "scannetv2_test.txt"}
POSITIONS = 81
"""Positions of a clip, as video models expect them."""
MIDDLE_SHARE = 0.5
"""The published rule takes the middle half of a scan: denser frames give more objects that several frames share."""
SHORTEST_MIDDLE = 60
"""Where the middle half has fewer frames, the whole scan is taken."""


@dataclass(frozen=True)
class Scan:
    """One recording: its name `sceneRRRR_SS`, and its folder relative to the raw folder ("" for that folder itself)."""

    name: str
    folder: str

    @property
    def room(self) -> str:
        """The room `sceneRRRR`; rescans of a room share it."""
        return room_of(self.name)

    def inside(self, name: str) -> str:
        """Return the name, relative to the raw folder, of something in the scan's folder."""
        return f"{self.folder}/{name}" if self.folder else name


def room_of(scan: str) -> str:
    """Return the room of a scan, the part of its name before the underscore."""
    return scan.partition("_")[0]


def find_scans(raw: RawFolder) -> list[Scan]:
    """Return the scans below a raw folder, or the one whose own folder it is, sorted by name.

    Raises:
        MissingError: there are none.
        DatasetError: two folders hold a scan of the same name.
    """
    holders = [folder for folder in FOLDERS if not folder or (raw.root / folder).is_dir()]
    if SCAN_NAME.fullmatch(raw.root.name) and holders == [""]:
        return [Scan(raw.root.name, "")]
    found: dict[str, str] = {}
    for holder in holders:
        for name in raw.folders(holder or "."):
            path = f"{holder}/{name}" if holder else name
            if SCAN_NAME.fullmatch(name) and found.setdefault(name, path) != path:
                raise DatasetError(
                    f"scan {name} is there twice", where=raw.root / path, found=raw.root / found[name],
                    fix="remove one of them",
                )  # fmt: skip
    if not found:
        raise MissingError(
            "no scans here", where=raw.root, expected="folders named like scene0000_00, or scans/ with such folders",
            fix="give raw= the folder that holds scans/",
        )  # fmt: skip
    return [Scan(name, found[name]) for name in sorted(found)]


def find_lists(raw: RawFolder, folder: str | None = None) -> dict[str, Path]:
    """Return the official split lists: "train", "val", "test" -> file.

    Args:
        raw: the raw folder; lists are looked for in `LIST_FOLDERS` of it.
        folder: look there instead, wherever it is.
    """
    if folder is not None:
        outside = Path(folder).expanduser().absolute()
        return {split: outside / name for split, name in LISTS.items() if (outside / name).is_file()}
    return {split: path for split, name in LISTS.items() if (path := find_file(raw, name)) is not None}


def find_file(raw: RawFolder, name: str) -> Path | None:
    """Return the first file of that name in `LIST_FOLDERS` of the raw folder, None if there is none."""
    for folder in LIST_FOLDERS:
        path = raw.path(f"{folder}/{name}" if folder else name)
        if path.is_file():
            return path
    return None


def read_lists(files: Mapping[str, Path]) -> dict[str, str]:
    """Return room -> "train", "val" or "test" from official lists of scans, one name per line.

    Raises:
        DatasetError: a line is not a scan name, or a room is in two lists.
    """
    rooms: dict[str, str] = {}
    for split, path in files.items():
        try:
            lines = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"can't read the split list: {error}", where=path) from error
        for line in lines:
            if not SCAN_NAME.fullmatch(line):
                raise DatasetError("not a scan name in the split list", where=path, found=line[:60])
            room = room_of(line)
            if rooms.setdefault(room, split) != split:
                raise DatasetError(
                    f"room {room} is in two split lists", where=path, found=f"{rooms[room]} and {split}",
                    fix="use the official lists as they are",
                )  # fmt: skip
    return rooms


def splits_of(scans: Iterable[Scan], rooms: Mapping[str, str]) -> dict[str, str | None]:
    """Return scan -> "train", "select", "report", "test", or None where nothing official is known.

    Without lists, the folders `scans_train` and `scans_val` count. Validation rooms are halved into select and report.

    Raises:
        DatasetError: scans of one room lie in both folders.
    """
    result: dict[str, str | None] = {}
    holders: dict[str, str] = {}
    for scan in scans:
        official = rooms.get(scan.room)
        if not rooms:
            holder = scan.folder.rpartition("/")[0]
            if holders.setdefault(scan.room, holder) != holder:
                raise DatasetError(
                    f"room {scan.room} is in two folders", where=scan.folder, found=f"{holders[scan.room]}, {holder}",
                    fix="put all scans of a room into one, or add the official split lists",
                )  # fmt: skip
            official = {"scans_train": "train", "scans_val": "val"}.get(holder)
        result[scan.name] = halve(scan.room) if official == "val" else official
    return result


def read_scene_text(raw: RawFolder, scan: Scan) -> dict[str, str]:
    """Return the facts of a scan, {} if it has no such file. Lines without ` = ` are left out.

    Raises:
        DatasetError: the file leads out of the raw folder or is too large.
    """
    name = scan.inside(f"{scan.name}.txt")
    if not raw.exists(name):
        return {}
    lines = raw.read(name, limit=1 << 20).decode("utf-8", "replace").splitlines()
    pairs = (line.partition("=") for line in lines)
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def frame_count_note(facts: dict[str, str], count: int) -> str | None:
    """Return a warning if the recording has neither as many frames as the text names for colour nor for depth."""
    named = [int(text) for key in ("numColorFrames", "numDepthFrames") if (text := facts.get(key, "")).isdecimal()]
    if named and count not in named:
        return f"the scan's text file names {' or '.join(map(str, named))} frames, the recording has {count}"
    return None


@dataclass(frozen=True)
class Window:
    """A run of frames of a scan, [first, first + length)."""

    first: int
    length: int

    def frames(self) -> NDArray[np.int64]:
        """Return the frame at each of the 81 positions, evenly spread; runs shorter than that repeat frames."""
        return self.first + np.round(np.linspace(0, self.length - 1, POSITIONS)).astype(np.int64)


def paper_window(count: int) -> Window:
    """Return the published window of a scan of `count` frames: its middle half, or all if that has under 60 frames."""
    length = round(MIDDLE_SHARE * count)
    if length < SHORTEST_MIDDLE:
        return Window(0, count)
    return Window((count - length) // 2, length)


def all_windows(count: int, window: int) -> list[Window]:
    """Return windows that share a scan out without gap or overlap, each of about `window` frames and at least that.

    Args:
        count: frames of the scan.
        window: frames that a window should have; a shorter scan is one window.
    """
    pieces = max(1, count // window)
    edges = np.round(np.linspace(0, count, pieces + 1)).astype(int).tolist()
    return [Window(first, last - first) for first, last in pairwise(edges)]
