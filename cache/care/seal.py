"""Compacts the commit records of a store into its manifest, and drops the manifest before records change."""

from __future__ import annotations

import dataclasses

from cache.create import exclusive, save_header
from cache.format import layout
from cache.format.header import load_header
from cache.format.manifest import to_parquet
from cache.format.records import load_commit
from cache.lease import LeaseBoard
from cache.storage.backend import Backend
from cache.store import FeatureStore
from configs.files import sha256_bytes


def seal(backend: Backend, board: LeaseBoard) -> int:
    """Compact the commit records of a store; return how many there are. The records themselves stay.

    Raises:
        CorruptionError: a record can't be trusted; nothing is written then.
    """
    with exclusive(backend, board):
        header = load_header(backend)
        parsed = [pair for name in backend.names(layout.COMMITS) if (pair := layout.parse_commit_name(name))]
        found = [load_commit(backend, clip, number, header.fingerprint_digest) for clip, number in sorted(parsed)]
        data = to_parquet(found)
        old = tuple(header.files.get(layout.MANIFEST, ()))[-1:]
        both = dataclasses.replace(header, files={**header.files, layout.MANIFEST: (*old, sha256_bytes(data))})
        save_header(backend, both)
        backend.replace(layout.MANIFEST, data, durable=True)
        save_header(
            backend, dataclasses.replace(header, files={**header.files, layout.MANIFEST: (sha256_bytes(data),)})
        )
    return len(found)


def seal_complete(store: FeatureStore) -> bool:
    """Seal a store that lacks nothing, unless its manifest is up to date; return whether it was sealed.

    Every job may ask when it ends: whichever commits last finds the store complete. Clips and arrays can be added
    afterwards; the commit records decide what exists, and the manifest only saves reading them.

    Raises:
        CorruptionError, StorageError, StoreError: as `seal`; what is committed stays.
    """
    store.refresh()
    if store.index.sealed or store.missing(quarantined=True):
        return False
    seal(store.backend, store.board)
    return True


def drop(backend: Backend) -> None:
    """Remove the manifest before commit records change; readers then read the records."""
    if backend.delete(layout.MANIFEST):
        backend.sync([""])
