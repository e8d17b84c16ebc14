"""Creating a store and adding to it: done by one process while others wait; workers never touch metadata."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from cache.format import clips, layout
from cache.format.clips import ClipEntry
from cache.format.header import Header, identity_differences, load_covered, load_header
from cache.format.spec import ArraySpec, by_name
from cache.lease import LeaseBoard
from cache.storage.backend import TEMPORARY, Backend
from cache.storage.process import session_lives
from configs import commands
from configs.console import get_logger
from configs.errors import MissingError, StaleError, StorageError, StoreError
from configs.files import sha256_bytes
from configs.identity import differences

KNOWN_NAMES = {layout.STORE, layout.CLIPS, layout.MANIFEST, *layout.FOLDERS}
"""Everything that may exist at the top of a store."""


@contextmanager
def exclusive(backend: Backend, board: LeaseBoard, patience: float = 600.0) -> Iterator[None]:
    """Hold the right to change metadata; wait for whoever holds it.

    Raises:
        StoreError: it did not become free within `patience` seconds.
    """
    give_up, told = time.monotonic() + patience, False
    while (lease := board.take("init")) is None:
        if time.monotonic() > give_up:
            raise StoreError(
                "another process has been changing this store's metadata for too long",
                found=board.holder("init"),
                where=backend.where,
                fix=f"end that process, or delete {backend.where}/{layout.LEASES}/init.*.json if it is gone",
            )
        if not told:
            get_logger("cache").debug("waiting for %s to initialise %s", board.holder("init"), backend.where)
            told = True
        time.sleep(0.02)
    with lease:
        yield


def initialise(
    backend: Backend,
    board: LeaseBoard,
    *,
    source: str,
    dataset: str,
    fingerprint: Mapping[str, Any],
    recorded: Mapping[str, Any],
    entries: Sequence[ClipEntry],
    arrays: Sequence[ArraySpec],
) -> None:
    """Create a store, or add arrays and clips to the one that is there; the same call twice changes nothing.

    `store.json` goes first and lists the digests of what follows, so that a killed initialisation leaves a store that
    opens as it was, and the next one completes it.

    Raises:
        StaleError: the store was made with different parameters; the message lists them. Nothing is touched.
        StoreError: the folder is in use by something else.
    """
    clips.check_unique(entries)
    by_name(arrays)
    _refuse_foreign(backend)
    try:
        backend.make_folders(layout.FOLDERS)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise StorageError(
            f"can't create the feature store: {error.strerror}", where=backend.where, fix="choose another root=..."
        ) from error
    with exclusive(backend, board):
        old: Header | None = None
        if backend.size(layout.STORE) is None:
            check_place(backend)
            header = Header(source, dataset, dict(fingerprint), dict(recorded), (), {})
        else:
            old = header = load_header(backend)
            _refuse_stale(backend, header, source, dataset, fingerprint)
        _complete(backend, old, header, entries, arrays)
        for key in abandoned(backend):  # of this machine; `spatialprobe cache prune` removes those of others
            backend.delete(key)


def abandoned(backend: Backend, silent: Callable[[list[str]], bool] = lambda keys: False) -> Iterator[str]:
    """Yield temporary files, and their folders after them, of processes that are gone.

    Args:
        backend: the store.
        silent: whether the files (or the empty folder) of a process on another machine count as abandoned; by default
            they never do, because such a process can't be asked.
    """
    for session in backend.names(TEMPORARY):
        lives = session_lives(session)
        if lives:
            continue
        folder = f"{TEMPORARY}/{session}"
        files = [f"{folder}/{name}" for name in backend.names(folder)]
        if lives is False or silent(files or [folder]):
            yield from files
            yield folder


def check_place(backend: Backend) -> None:
    """Refuse a folder in which no store can be made, before anything is computed for it.

    Raises:
        StoreError: it is in use by something else, or has lost its `store.json`.
    """
    if not backend.names(""):
        return
    _refuse_foreign(backend)
    if backend.size(layout.STORE) is None and backend.names(layout.COMMITS):
        load_header(backend)  # raises: store.json is lost


def _refuse_foreign(backend: Backend) -> None:
    foreign = [name for name in backend.names("") if name not in KNOWN_NAMES and not name.startswith(".")]
    if foreign and backend.size(layout.STORE) is None:
        raise StoreError(
            "this folder is in use by something else",
            expected="an empty or missing folder, or a feature store",
            found=", ".join(sorted(foreign)[:6]),
            where=backend.where,
            fix="choose another root=...",
        )


def _refuse_stale(backend: Backend, header: Header, source: str, dataset: str, fingerprint: Mapping[str, Any]) -> None:
    found = identity_differences(header, source, dataset, fingerprint)
    if found:
        raise StaleError(
            "the store was made with different parameters",
            found="; ".join(found),
            where=backend.where,
            fix="keep the old parameters, or let the new ones have their own folder (`cache.store_path` names it)",
        )


def _complete(
    backend: Backend, old: Header | None, header: Header, entries: Sequence[ClipEntry], arrays: Sequence[ArraySpec]
) -> None:
    """Bring all metadata files to the wanted state. Order matters: see `initialise`."""
    known: list[ClipEntry] = []
    # no table and no commit: killed between store.json and clips.parquet of the very first initialisation
    if old is not None and (backend.size(layout.CLIPS) is not None or backend.names(layout.COMMITS)):
        header, data = load_covered(backend, header, layout.CLIPS)
        known = clips.from_parquet(data, f"{backend.where}/{layout.CLIPS}")
    table = clips.merged(known, entries, backend.where)
    if not table:
        raise StoreError("a store needs at least one clip", where=backend.where)
    specs = _merged_arrays(header.arrays, arrays, backend.where)

    wanted = {
        layout.CLIPS: clips.to_parquet(table),
        f"{layout.GROUP}/zarr.json": layout.group_metadata(header.identity),
    }
    if old is not None and len(table) == len(known) and known:
        wanted[layout.CLIPS] = data
    for spec in specs:
        wanted[f"{layout.array_folder(spec.name)}/zarr.json"] = layout.array_metadata(spec, len(table))
    digests = {key: sha256_bytes(data) for key, data in wanted.items()}
    present = {key: _digest_of(backend, key) for key in wanted}

    files: dict[str, Sequence[str]] = dict(header.files)
    for key, sha in digests.items():
        before = present[key]
        files[key] = (sha,) if before in (None, sha) else (before or "", sha)
    changed = [key for key, sha in digests.items() if present[key] != sha]
    finished = dataclasses.replace(
        header, arrays=tuple(specs), files={**files, **{k: (s,) for k, s in digests.items()}}
    )
    spare = {layout.STORE: finished.to_bytes(), layout.CLIPS: wanted[layout.CLIPS]}
    copied = all(_digest_of(backend, f"{layout.BACKUP}/{key}") == sha256_bytes(data) for key, data in spare.items())
    if not changed and finished == old and copied:
        return
    backend.replace(layout.STORE, dataclasses.replace(finished, files=files).to_bytes(), durable=True)
    backend.make_folders(layout.array_folder(spec.name) for spec in specs)
    for key in changed:
        backend.replace(key, wanted[key], durable=True)
    backend.replace(f"{layout.BACKUP}/{layout.CLIPS}", wanted[layout.CLIPS], durable=True)
    save_header(backend, finished)


def save_header(backend: Backend, header: Header) -> None:
    """Write `store.json` and its spare copy."""
    backend.replace(layout.STORE, header.to_bytes(), durable=True)
    backend.replace(f"{layout.BACKUP}/{layout.STORE}", header.to_bytes(), durable=True)


def _digest_of(backend: Backend, key: str) -> str | None:
    try:
        return sha256_bytes(backend.read(key))
    except MissingError:
        return None


def _merged_arrays(old: Sequence[ArraySpec], new: Sequence[ArraySpec], where: str) -> list[ArraySpec]:
    known = by_name(old)
    result = list(old)
    for spec in new:
        before = known.get(spec.name)
        if before is None:
            result.append(spec)
        elif before.to_json() != spec.to_json():
            found = "; ".join(str(item) for item in differences(before.to_json(), spec.to_json()))
            raise StaleError(
                f"array {spec.name} exists with different properties",
                found=found,
                where=where,
                fix="give the new array another name, or remove the old one: "
                + commands.cache("prune", store=where, arrays=spec.name, apply=True),
            )
    return result
