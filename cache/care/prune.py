"""Removes what no commit record refers to, and on request whole arrays; never committed features otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from cache.care.seal import drop
from cache.create import KNOWN_NAMES, abandoned, exclusive, save_header
from cache.format import layout
from cache.format.header import load_header
from cache.format.moments import from_bytes
from cache.format.records import load_commit, rewrite_commit
from cache.lease import LeaseBoard
from cache.storage.backend import TEMPORARY, Backend
from configs import commands
from configs.errors import MissingError, StoreError

QUIET_SECONDS = 24 * 3600.0
"""Age after which temporary files of another machine count as abandoned, by the file system's own clock."""


SILENT_LEASES = 10.0
"""Times of a lease's timeout after which one of another machine counts as dead, by the file system's own clock."""


def dead_leases(backend: Backend, board: LeaseBoard) -> list[str]:
    """Return the keys of leases whose processes are gone, or on another machine and silent for long."""
    now = _now(backend)
    return board.dead(lambda key: now - (backend.modified(key) or now) >= SILENT_LEASES * board.timeout)


def unreferenced(backend: Backend, board: LeaseBoard) -> Iterator[str]:
    """Yield the keys that may be removed: abandoned temporary files, uncommitted shards and statistics, dead leases.

    Clips that some process holds a lease on, and temporary files of live processes, are left alone.
    """
    dead = dead_leases(backend, board)
    ended = {key.removeprefix(f"{layout.LEASES}/").rsplit(".", 2)[0] for key in dead}
    for clip, keys in sorted(_uncommitted(backend).items()):
        if f"{clip:08d}" not in set(board.active()) - ended:
            yield from keys
    yield from dead
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
    now = _now(backend)

    def silent(keys: list[str]) -> bool:
        return all(now - (backend.modified(key) or 0.0) >= QUIET_SECONDS for key in keys)

    return abandoned(backend, silent)


def _now(backend: Backend) -> float:
    """Return the time by the storage's own clock, in seconds."""
    clock = f"{layout.LEASES}/clock"
    backend.replace(clock, b"")
    now = backend.modified(clock) or 0.0
    backend.delete(clock)
    return now


def prune(backend: Backend, board: LeaseBoard) -> tuple[int, int]:
    """Remove what `unreferenced` finds; return (files, bytes)."""
    count = freed = 0

    def remove(key: str) -> None:
        nonlocal count, freed
        size = 0 if key in folders else backend.size(key) or 0
        if backend.delete(key) and key not in folders:
            count, freed = count + 1, freed + size

    folders = {f"{TEMPORARY}/{session}" for session in backend.names(TEMPORARY)}
    for key in dead_leases(backend, board):
        remove(key)
    with exclusive(backend, board):
        for clip in sorted(_uncommitted(backend)):
            lease = board.take(f"{clip:08d}")
            if lease is not None:
                with lease:  # nobody can commit this clip now; look again, another process may have a moment ago
                    for key in _uncommitted(backend, clip).get(clip, ()):
                        remove(key)
        for key in _abandoned(backend):
            remove(key)
    return count, freed


def drop_arrays(backend: Backend, board: LeaseBoard, arrays: Sequence[str]) -> int:
    """Remove whole arrays from a store; return how many shards went.

    The commit records lose them first, so that a kill leaves only unreferenced files for `prune`.

    Raises:
        MissingError: no such array; StoreError: a job is writing to the store.
    """
    with exclusive(backend, board):
        _refuse_busy(backend, board)
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


def discard(backend: Backend, board: LeaseBoard) -> None:
    """Remove a store that holds no commit, `store.json` first; a kill leaves what the next extraction completes.

    Raises:
        StoreError: there are commits, or a job is writing.
    """
    for key in dead_leases(backend, board):
        backend.delete(key)
    with exclusive(backend, board):
        _refuse_busy(backend, board)
        if backend.names(layout.COMMITS) or backend.size(layout.MANIFEST) is not None:
            raise StoreError(
                "the store holds features, or did", where=backend.where, fix=commands.repair(backend.where)
            )
        backend.delete(layout.STORE)
        backend.delete(f"{layout.BACKUP}/{layout.STORE}")
        for name in sorted(KNOWN_NAMES - {layout.LEASES}):
            _remove_all(backend, name)
    for name in (layout.LEASES, TEMPORARY):
        _remove_all(backend, name)
    if not backend.names(""):
        backend.delete("")


def _remove_all(backend: Backend, key: str) -> None:
    for name in backend.names(key):
        _remove_all(backend, f"{key}/{name}")
    backend.delete(key)


def _refuse_busy(backend: Backend, board: LeaseBoard) -> None:
    busy = set(board.active()) - {"init"}
    if busy:
        raise StoreError(
            "a job is writing to this store",
            found=f"clips {', '.join(sorted(busy)[:4])}",
            where=backend.where,
            fix="wait until it has ended",
        )


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
