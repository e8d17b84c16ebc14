"""Copies or moves a store, or parts of it, with verification: to another disk, or with another compression."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cache.care.compare import compare
from cache.care.prune import discard, drop_arrays
from cache.care.verify import verify
from cache.storage.backend import Backend
from cache.store import FeatureStore
from configs import commands
from configs.errors import CorruptionError, StoreError

if TYPE_CHECKING:
    import torch


def copy_store(
    source: FeatureStore,
    target: str | os.PathLike[str] | Backend,
    *,
    arrays: Sequence[str] | None = None,
    compression: str | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> FeatureStore:
    """Copy the committed clips of a store; a killed copy continues where it was.

    Every row is compared with its checksum when it is read, and the finished copy is read again as a whole. The copy
    has the same identity: compression and place change no value.

    Args:
        source: the store to copy.
        target: folder or backend of the copy.
        arrays: names of the arrays to copy; all by default.
        compression: `none`, `zstd` or `blosc-lz4`; as in the source by default.
        advance: called with 1 after each clip, for progress.

    Raises:
        CorruptionError: the source or the finished copy is not as written.
        StaleError: the target holds other features; StoreError: it is the source itself.
    """
    specs = [source.array(name) for name in (source.arrays if arrays is None else arrays)]
    if compression is not None:
        specs = [dataclasses.replace(spec, compression=compression) for spec in specs]
    _refuse_itself(source, target)
    copy = FeatureStore.create(
        target,
        source=source.source,
        dataset=source.dataset,
        fingerprint=source.fingerprint,
        recorded=source.header.recorded,
        clips=source.entries,
        arrays=specs,
    )
    for clip_id in source.clips:
        _copy_clip(source, copy, clip_id, [spec.name for spec in specs])
        advance(1)
    problems = verify(copy.backend)
    if problems:
        raise CorruptionError(
            "the copy differs from what was written",
            found="; ".join(map(str, problems[:4])),
            where=copy.where,
            fix=f"check the disk, then {commands.repair(copy.where)}, and copy again",
        )
    copy.refresh()
    return copy


def _refuse_itself(source: FeatureStore, target: str | os.PathLike[str] | Backend) -> None:
    """Compare places, not names: a link to the source's folder is the source, and moving onto it would delete it."""
    where = os.fspath(target) if isinstance(target, (str, os.PathLike)) else target.where
    same = where == source.where
    with suppress(OSError):  # not there yet, or no path at all
        same = same or Path(where).samefile(source.where)
    if same:
        raise StoreError("a store can't be copied onto itself", where=where, fix="choose another target")


def _copy_clip(source: FeatureStore, copy: FeatureStore, clip_id: str, arrays: Sequence[str]) -> None:
    clip, there = source.clip_index(clip_id), copy.clip_index(clip_id)
    wanted = [
        name for name in arrays if source.index.shard(clip, name) is not None and copy.index.shard(there, name) is None
    ]
    if not wanted:
        return
    with copy.writer(clip_id, run={"copied_from": source.where}) as writer:
        for name in wanted:
            rows = range(source.array(name).rows)
            features: torch.Tensor = source.read([(clip_id, name, rows)])[0]
            writer.put(name, features)


def remove_store(store: FeatureStore, copy: FeatureStore) -> None:
    """Remove a store after checking that a copy of it is complete.

    Raises:
        StoreError: the copy lacks something, or a job is writing; nothing is removed.
    """
    store.refresh()  # what was committed while it was copied must not go
    copy.refresh()
    lacking = compare(store, copy)
    if lacking:
        raise StoreError(
            "the copy is not complete; nothing was removed", found="; ".join(lacking[:4]), where=copy.where
        )
    drop_arrays(store.backend, store.board, list(store.arrays))
    discard(store.backend, store.board)
