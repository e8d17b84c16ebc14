"""Removes what no commit record refers to, and on request whole arrays; never committed features otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from cache.care.seal import drop
from cache.create import abandoned, exclusive, save_header
from cache.format import layout
from cache.format.header import load_header
from cache.format.moments import from_bytes
from cache.format.records import load_commit, rewrite_commit
from cache.lease import LeaseBoard
from cache.storage.backend import TEMPORARY, Backend
from configs.errors import MissingError, StoreError

QUIET_SECONDS = 24 * 3600.0
"""Age after which temporary files of another machine count as abandoned, by the file system's own clock."""


def unreferenced(backend: Backend, board: LeaseBoard) -> Iterator[str]:
    """Yield the keys that may be removed: abandoned temporary files, uncommitted shards and statistics, dead leases.

    Clips that some process holds a lease on, and temporary files of live processes, are left alone.
    """
    for clip, keys in sorted(_uncommitted(backend).items()):
        if f"{clip:08d}" not in board.active():
            yield from keys
    yield from board.dead()
    yield from _abandoned(backend)


def _uncommitted(backend: Backend, only: int | None = None) -> dict[int, list[str]]:
    """Return the shards and statistics that no commit record names, by clip; of one clip only if asked."""
    header = load_header(backend)
    present: dict[int, list[str]] = {}
    for spec in header.arrays:
        folder = layout.array_folder(spec.name)
        for name in backend.names(folder):
            clip = name.removeprefix("c.").removesuffix(".0.0.0.0")
            if clip.isdecimal() and only in (None, int(clip)):
                present.setdefault(int(clip), []).append(f"{folder}/{name}")
    for name in backend.names(layout.STATISTICS):
        clip = name.split(".")[0]
        if clip.isdecimal() and only in (None, int(clip)):
            present.setdefault(int(clip), []).append(f"{layout.STATISTICS}/{name}")
    wanted: set[str] = set()
    for name in backend.names(layout.COMMITS):
        parsed = layout.parse_commit_name(name)
        if parsed is None or only not in (None, parsed[0]):
            continue
        try:
            record = load_commit(backend, *parsed, header.fingerprint_digest)
        except MissingError:
            continue
        wanted.add(layout.statistics_key(*parsed))
        wanted.update(layout.shard_key(array, record.clip) for array in record.arrays)
    left = {clip: [key for key in keys if key not in wanted] for clip, keys in present.items()}
    return {clip: keys for clip, keys in left.items() if keys}


def _abandoned(backend: Backend) -> Iterator[str]:
    """Yield temporary files, and their folders after them, of processes that are gone or long silent."""
    clock = f"{layout.LEASES}/clock"
    backend.replace(clock, b"")
    now = backend.modified(clock) or 0.0
    backend.delete(clock)

    def silent(keys: list[str]) -> bool:
        return all(now - (backend.modified(key) or 0.0) >= QUIET_SECONDS for key in keys)

    return abandoned(backend, silent)


def prune(backend: Backend, board: LeaseBoard) -> tuple[int, int]:
    """Remove what `unreferenced` finds; return (files, bytes)."""
    count = freed = 0

    def remove(key: str) -> None:
        nonlocal count, freed
        size = 0 if key in folders else backend.size(key) or 0
        if backend.delete(key) and key not in folders:
            count, freed = count + 1, freed + size

    folders = {f"{TEMPORARY}/{session}" for session in backend.names(TEMPORARY)}
    with exclusive(backend, board):
        for clip in sorted(_uncommitted(backend)):
            lease = board.take(f"{clip:08d}")
            if lease is not None:
                with lease:  # nobody can commit this clip now; look again, another process may have a moment ago
                    for key in _uncommitted(backend, clip).get(clip, ()):
                        remove(key)
        for key in [*board.dead(), *_abandoned(backend)]:
            remove(key)
    return count, freed


def drop_arrays(backend: Backend, board: LeaseBoard, arrays: Sequence[str]) -> int:
    """Remove whole arrays from a store; return how many shards went.

    The commit records lose them first, so that a kill leaves only unreferenced files for `prune`.

    Raises:
        MissingError: no such array; StoreError: a job is writing to the store.
    """
    with exclusive(backend, board):
        busy = board.active() - {"init"}
        if busy:
            raise StoreError(
                "a job is writing to this store",
                found=f"clips {', '.join(sorted(busy)[:4])}",
                where=backend.where,
                fix="wait until it has ended",
            )
        header = load_header(backend)
        known = {spec.name for spec in header.arrays}
        for name in arrays:
            if name not in known:
                raise MissingError(f"the store has no array {name!r}", expected=", ".join(sorted(known)))
        drop(backend)
        gone = set(arrays)
        for name in sorted(backend.names(layout.COMMITS)):
            parsed = layout.parse_commit_name(name)
            if parsed is not None:
                _without(backend, header.fingerprint_digest, *parsed, gone)
        backend.sync([layout.COMMITS])
        shards = 0
        for name in arrays:
            folder = layout.array_folder(name)
            shards += sum(backend.delete(f"{folder}/{file}") for file in backend.names(folder) if file != "zarr.json")
        metadata = {layout.MANIFEST, *(f"{layout.array_folder(name)}/zarr.json" for name in gone)}
        files = {key: shas for key, shas in header.files.items() if key not in metadata}
        kept = tuple(spec for spec in header.arrays if spec.name not in gone)
        save_header(backend, dataclasses.replace(header, arrays=kept, files=files))
        for name in arrays:
            backend.delete(f"{layout.array_folder(name)}/zarr.json")
            backend.delete(layout.array_folder(name))
        backend.sync([layout.GROUP])
    return shards


def _without(backend: Backend, fingerprint: str, clip: int, generation: int, gone: set[str]) -> None:
    record = load_commit(backend, clip, generation, fingerprint)
    kept = {name: shard for name, shard in record.arrays.items() if name not in gone}
    if len(kept) == len(record.arrays):
        return
    moments = {}
    if kept:
        key = layout.statistics_key(clip, generation)
        data = backend.read(key)
        moments = {name: from_bytes(data, name, key) for name in kept}
    rewrite_commit(backend, record, kept, moments)
