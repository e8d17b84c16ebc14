"""Which scans a raw folder holds, which room each belongs to, and what the official split lists say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import DatasetError, MissingError
from data.splits import halve

SCAN_NAME = re.compile(r"(scene\d{4})_\d{2}")
FOLDERS = ("", "scans", "scans_train", "scans_val")
"""Where scans may lie below the raw folder. `scans_test` is left out: test scans have no public annotation."""
LIST_FOLDERS = ("", "meta_data", "splits", "Tasks/Benchmark")
LISTS = {"train": "scannetv2_train.txt", "val": "scannetv2_val.txt", "test": "scannetv2_test.txt"}


@dataclass(frozen=True)
class Scan:
    """One recording: its name `sceneRRRR_SS`, and its folder."""

    name: str
    folder: Path

    @property
    def room(self) -> str:
        """The room `sceneRRRR`; rescans of a room share it."""
        return room_of(self.name)


def room_of(scan: str) -> str:
    """Return the room of a scan, the part of its name before the underscore."""
    return scan.partition("_")[0]


def find_scans(raw: Path) -> list[Scan]:
    """Return the scans below a raw folder, or the one whose own folder it is, sorted by name.

    Raises:
        MissingError: there are none.
        DatasetError: two folders hold a scan of the same name.
    """
    if SCAN_NAME.fullmatch(raw.name) and not any((raw / folder).is_dir() for folder in FOLDERS[1:]):
        return [Scan(raw.name, raw)]
    found: dict[str, Path] = {}
    for folder in FOLDERS:
        for path in sorted(p for p in (raw / folder).glob("scene*") if SCAN_NAME.fullmatch(p.name) and p.is_dir()):
            if found.setdefault(path.name, path) != path:
                raise DatasetError(
                    f"scan {path.name} is there twice", where=path, found=found[path.name], fix="remove one of them"
                )
    if not found:
        raise MissingError(
            "no scans here", where=raw, expected="folders named like scene0000_00, or scans/ with such folders",
            fix="give raw= the folder that holds scans/",
        )  # fmt: skip
    return [Scan(name, found[name]) for name in sorted(found)]


def find_lists(raw: Path) -> dict[str, Path]:
    """Return the official split lists found below a raw folder: "train", "val", "test" -> file."""
    found = {}
    for split, name in LISTS.items():
        for folder in LIST_FOLDERS:
            if (raw / folder / name).is_file():
                found[split] = raw / folder / name
                break
    return found


def read_lists(files: Mapping[str, Path]) -> dict[str, str]:
    """Return room -> "train", "val" or "test" from official lists of scans, one name per line.

    Raises:
        DatasetError: a line is no scan name, or a room is in two lists.
    """
    rooms: dict[str, str] = {}
    for split, path in files.items():
        try:
            lines = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"can't read the split list: {error}", where=path) from error
        for line in lines:
            if not SCAN_NAME.fullmatch(line):
                raise DatasetError("a line of the split list is no scan", where=path, found=line[:60])
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
    """
    result: dict[str, str | None] = {}
    for scan in scans:
        official = rooms.get(scan.room)
        if not rooms:
            official = {"scans_train": "train", "scans_val": "val"}.get(scan.folder.parent.name)
        result[scan.name] = halve(scan.room) if official == "val" else official
    return result
