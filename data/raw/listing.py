"""Which files of a folder are frames: each has a place in the order, or is named with the reason; none vanishes.

A file is a frame if it ends like a picture or begins like one. Pictures that can't be read, HEIC for example, keep
their place, and whoever needs that frame fails: otherwise all later frames would move up by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path, PurePosixPath

from configs.errors import DatasetError
from data.raw.folder import RawFolder
from data.raw.video import SUFFIXES as VIDEOS

READ = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pnm")
"""Endings of pictures that `data.raw.images` reads; what counts is the content."""
NOT_READ = (
    ".heic", ".heif", ".avif", ".gif", ".jp2", ".j2k", ".jxl", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".raf", ".orf", ".rw2", ".raw", ".psd", ".tga",
)  # fmt: skip
"""Endings of pictures that it does not."""
HEAD = 16
SHOWN = 5


@dataclass(frozen=True)
class Listing:
    """What is in a folder of pictures.

    Attributes:
        names: one file per frame, in natural order, also those that can't be read.
        left_out: the files that are no frames, with the reason: one sentence per ending and reason. Hidden files aren't
            mentioned.
    """

    names: tuple[str, ...]
    left_out: tuple[str, ...]


def list_pictures(raw: RawFolder, folder: str | PathLike[str] = ".") -> Listing:
    """List a folder of pictures.

    Raises:
        MissingError: no such folder.
        DatasetError: two pictures of one frame: names that differ only in their ending.
    """
    names = raw.names(folder)
    frames = [name for name in names if is_picture(raw.path(PurePosixPath(folder) / name))]
    by_stem: dict[str, str] = {}
    for name in frames:
        if not name.lower().endswith(NOT_READ):
            other = by_stem.setdefault(Path(name).stem, name)
            if other != name:
                raise DatasetError(
                    "two pictures of one frame", expected="one", found=f"{other} and {name}", where=raw.path(folder),
                    fix="delete the one that doesn't belong here",
                )  # fmt: skip
    reasons = {name: _why_not(name, by_stem) for name in names}
    kept = tuple(name for name in names if (name in frames and not reasons[name]) or _is_unfinished(name, by_stem))
    left_out = {name: reasons[name] or "not a picture" for name in names if name not in set(kept)}
    return Listing(kept, describe_left_out(left_out))


def is_picture(path: Path) -> bool:
    """Return whether a file is a picture by its ending or, failing that, by its first bytes."""
    if path.name.lower().endswith((*READ, *NOT_READ)):
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(HEAD)
    starts = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*")
    bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)
    return head.startswith(starts) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP") or bitmap


def _why_not(name: str, by_stem: Mapping[str, str]) -> str:
    """Why a file is not a frame of its own, "" if its kind alone decides."""
    if name.lower().endswith(VIDEOS):
        return "a video"
    if name.lower().endswith(NOT_READ) and (other := by_stem.get(Path(name).stem)):
        return f"{Path(other).suffix} of the same frame is used"
    return ""


def _is_unfinished(name: str, by_stem: Mapping[str, str]) -> bool:
    """Whether a name is a picture's with something behind it, as of an unfinished copy, and that picture is missing."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes[:-1]]
    hit = next((i for i, suffix in enumerate(suffixes) if suffix in READ), None)
    if hit is None or name.lower().endswith((*READ, *NOT_READ)):
        return False
    stem = name
    for _ in range(len(suffixes) + 1 - hit):
        stem = Path(stem).stem
    return stem not in by_stem


def describe_left_out(reasons: Mapping[str, str]) -> tuple[str, ...]:
    """Return one sentence per ending and reason, for warnings.

    Args:
        reasons: names of files or folders that are not used -> why.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for name, reason in reasons.items():
        groups.setdefault((Path(name).suffix.lower(), reason), []).append(name)
    sentences = []
    for (_, reason), names in sorted(groups.items()):
        ordered = sorted(names, key=lambda name: (len(name), name))
        shown = ", ".join(ordered[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        sentences.append(f"{len(names)} left out ({reason}): {shown}")
    return tuple(sentences)
