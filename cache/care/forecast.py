"""How much disk space a store will take, estimated before the first forward pass."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.format import clips, layout, moments
from cache.format.clips import ClipEntry
from cache.format.header import Header
from cache.format.records import CommitRecord, ShardRecord
from cache.format.spec import ArraySpec
from configs.console import format_bytes
from configs.errors import DISK_FIXES, StorageError
from configs.files import existing_part, free_bytes

SHARE = 0.95
"""Largest share of the free space that a job may plan to use."""

MANIFEST_BYTES = 4400
"""Size of a manifest without rows: names and types of its columns."""
SEALED_BYTES = 110
"""What one committed shard adds to the manifest, beside its checksums."""


def bytes_needed(arrays: Iterable[ArraySpec], n_clips: int) -> int:
    """Return the bytes of the files that `n_clips` more clips of some arrays will make, uncompressed for archives too.

    Counts the features, the shard indexes, the channel statistics, the commit records and the manifest. File systems
    round each file up to whole blocks, usually 4 kB.
    """
    specs = list(arrays)
    if not specs or n_clips == 0:
        return 0
    per_clip = _record_bytes(specs)
    for spec in specs:
        index, checksums = 16 * spec.rows + 4, 5 * spec.rows
        per_clip += spec.rows * spec.row_bytes + index + checksums + SEALED_BYTES
    return per_clip * n_clips


def _record_bytes(specs: Sequence[ArraySpec]) -> int:
    """Return the size of one clip's statistics and commit record, by writing such a pair down."""
    statistics = len(moments.to_bytes({spec.name: moments.Moments.empty(spec.channels) for spec in specs}))
    shards = {spec.name: ShardRecord(10**6, (2 * 10**9,) * spec.rows, 1.2345678) for spec in specs}
    digest = "0" * 64
    run = {"device": "cpu", "batch": 1, "host": "host", "pid": 10**5, "seconds": 0.123, "committed_at": "0" * 24}
    record = CommitRecord(100, "0" * 9, digest, 0, digest, shards, statistics, digest, run)
    return statistics + len(record.to_bytes())


def store_bytes(
    identity: Mapping[str, Any], recorded: Mapping[str, Any], entries: Sequence[ClipEntry], arrays: Sequence[ArraySpec]
) -> int:
    """Return the bytes of the files that a new store begins with, and of an empty manifest.

    Args:
        identity: `source`, `dataset` and `fingerprint`.
        recorded: as in `FeatureStore.create`.
        entries: the clips.
        arrays: the arrays.
    """
    known = {layout.CLIPS, layout.MANIFEST, layout.GROUP, *(spec.name for spec in arrays)}
    files = {f"{layout.GROUP}/{key}": ("0" * 64,) for key in known}
    header = Header(arrays=tuple(arrays), files=files, recorded=dict(recorded), **identity)
    twice = len(header.to_bytes()) + len(clips.to_parquet(entries))  # with their spare copies
    zarr = len(layout.group_metadata(header.identity))
    return 2 * twice + zarr + sum(len(layout.array_metadata(spec, len(entries))) for spec in arrays) + MANIFEST_BYTES


def check_free_space(
    path: str | os.PathLike[str], arrays: Iterable[ArraySpec], n_clips: int, needed: int | None = None
) -> tuple[int, int]:
    """Return (bytes needed, bytes free), or refuse a job that would fill the disk.

    Args:
        path: where the store lies or will lie.
        arrays, n_clips: what is going to be written.
        needed: its bytes, where they are known better: clips that lack some of the arrays only; by default of all.

    Raises:
        StorageError: more than 95 % of the free space would be used, or nothing can be written there.
    """
    place = existing_part(path)
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        problem = "no permission to write here" if place.is_dir() else "not a folder"
        raise StorageError(problem, where=place, fix=DISK_FIXES[errno.EACCES])
    specs = list(arrays)
    needed, free = bytes_needed(specs, n_clips) if needed is None else needed, free_bytes(path)
    if needed > SHARE * free:
        raise StorageError(
            f"the features of {n_clips} clips don't fit on the disk",
            expected=f"at most {SHARE:.0%} of the free {format_bytes(free)}",
            found=f"{format_bytes(needed)} for {', '.join(spec.name for spec in specs)}",
            where=Path(path),
            fix="choose fewer blocks (layers=...), grid=paper instead of native, or another disk (root=...)",
        )
    return needed, free
