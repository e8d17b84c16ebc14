"""How much disk a store will take, told before the first forward pass."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from cache.spec import ArraySpec
from configs.errors import StorageError

SHARE = 0.95
"""Largest share of the free space that a job may plan to use."""

_RECORD_BYTES = 4096  # one commit record and one statistics file round up to file system blocks


def bytes_needed(arrays: Iterable[ArraySpec], n_clips: int) -> int:
    """Return the bytes that `n_clips` more clips of some arrays will take, uncompressed size for archives too.

    Counts the features, the shard indexes, the channel statistics and the commit records.
    """
    per_clip = 2 * _RECORD_BYTES
    for spec in arrays:
        index = 16 * spec.rows + 4
        statistics = 4 * 8 * spec.channels
        checksums = 16 * spec.rows
        per_clip += spec.rows * spec.row_bytes + index + statistics + checksums
    return per_clip * n_clips


def free_bytes(path: str | os.PathLike[str]) -> int:
    """Return the bytes free for this user on the file system that holds, or will hold, a path."""
    place = Path(path).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return shutil.disk_usage(place).free


def check_free_space(path: str | os.PathLike[str], arrays: Iterable[ArraySpec], n_clips: int) -> tuple[int, int]:
    """Return (bytes needed, bytes free), or refuse a job that would fill the disk.

    Raises:
        StorageError: more than 95 % of the free space would be used.
    """
    specs = list(arrays)
    needed, free = bytes_needed(specs, n_clips), free_bytes(path)
    if needed > SHARE * free:
        raise StorageError(
            f"the features of {n_clips} clips don't fit on the disk",
            expected=f"at most {SHARE:.0%} of the free {format_bytes(free)}",
            found=f"{format_bytes(needed)} for {', '.join(spec.name for spec in specs)}",
            where=Path(path),
            fix="choose fewer blocks (layers=...), the probe grid instead of native, or another disk (root=...)",
        )
    return needed, free


def format_bytes(count: float) -> str:
    """Return a byte count as a person writes it, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
