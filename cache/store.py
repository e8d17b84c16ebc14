"""One feature store, to be read and written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from cache.clip_writer import ClipWriter
from cache.create import initialise
from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.lease import TIMEOUT, Lease, LeaseBoard
from cache.shard_reader import StoreReader
from cache.storage.backend import Backend
from cache.storage.local import LocalBackend
from configs.errors import StoreError


class FeatureStore(StoreReader):
    """An open store. Use `FeatureStore.create` or `FeatureStore.open`; reading is described at `FeatureSource`."""

    def __init__(self, backend: Backend, *, io_threads: int = 1, lease_timeout: float = TIMEOUT) -> None:
        super().__init__(backend, io_threads)
        self.lease_timeout = lease_timeout
        self.board = LeaseBoard(backend, lease_timeout)

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str] | Backend,
        *,
        source: str,
        dataset: str,
        fingerprint: Mapping[str, Any],
        recorded: Mapping[str, Any] | None = None,
        clips: Sequence[ClipEntry],
        arrays: Sequence[ArraySpec],
        lease_timeout: float = TIMEOUT,
    ) -> Self:
        """Create a store, or add arrays and clips to the one that is there; calling it again changes nothing.

        Safe to call from any number of processes at once: one does the work, the others wait.

        Args:
            path: folder of the store (`cache.store_path` names the usual one) or a backend.
            source: what makes the features.
            dataset: name of the prepared dataset.
            fingerprint: everything that changes a value, JSON types.
            recorded: what does not: versions, device, batch size. Kept as of the first call.
            clips: clips to hold; known ones keep their place, new ones are appended.
            arrays: arrays to hold; known ones must be equal.
            lease_timeout: seconds of silence after which another machine may take over a clip.

        Raises:
            StaleError: the store was made with different parameters; nothing is touched.
            StoreError, CorruptionError, VersionError, StorageError: the place can't be used.
        """
        backend = _backend(path)
        board = LeaseBoard(backend, lease_timeout)
        initialise(
            backend,
            board,
            source=source,
            dataset=dataset,
            fingerprint=fingerprint,
            recorded=recorded or {},
            entries=clips,
            arrays=arrays,
        )
        return cls(backend, lease_timeout=lease_timeout)

    @classmethod
    def open(cls, path: str | os.PathLike[str] | Backend, *, io_threads: int = 1) -> Self:
        """Open a store, finished or not.

        Args:
            path: its folder, or a backend.
            io_threads: requests in flight at a time; 4 to 8 help on cold or network disks.

        Raises:
            StoreError: there is no store; CorruptionError, VersionError, StorageError: it can't be used.
        """
        return cls(_backend(path), io_threads=io_threads)

    def __reduce__(self) -> tuple[Any, ...]:
        return (_reopen, (self.backend, self.io_threads, self.lease_timeout))

    def __repr__(self) -> str:
        return f"<FeatureStore {self.source} on {self.dataset}, {len(self.clips)} clips, {self.where}>"

    def claim(self, clip_id: str, arrays: Iterable[str] | None = None) -> Lease | None:
        """Claim a clip for this process.

        Args:
            clip_id: the clip.
            arrays: what is going to be written; all arrays by default.

        Returns:
            A lease to hand to `writer`, or to release. None if another process holds the clip, or if the arrays
            have been committed meanwhile.
        """
        clip = self.clip_index(clip_id)
        names = [self.array(name).name for name in (self.arrays if arrays is None else arrays)]
        lease = self.board.take(f"{clip:08d}")
        if lease is None:
            return None
        try:
            self.index.probe(clip)
            complete = all(self.index.shard(clip, name) is not None for name in names)
        except BaseException:
            lease.release()
            raise
        if complete:
            lease.release()
            return None
        return lease

    def writer(
        self,
        clip_id: str,
        lease: Lease | None = None,
        run: Mapping[str, Any] | None = None,
        *,
        verify_writes: bool = False,
    ) -> ClipWriter:
        """Return a writer for one clip; see `ClipWriter`.

        Args:
            clip_id: the clip.
            lease: from `claim`; claimed here if not given.
            run: facts for the commit record, JSON types.
            verify_writes: read every shard back before the clip counts; costs one more pass over the bytes.

        Raises:
            StoreError: another process is writing this clip, or the lease belongs to another clip.
        """
        name = f"{self.clip_index(clip_id):08d}"
        if lease is None:
            lease = self.board.take(name)
            if lease is None:
                raise StoreError(
                    f"clip {clip_id} is being written by {self.board.holder(name) or 'another process'}",
                    where=self.where,
                    fix="leave it to that process; `FeatureStore.claim` returns a lease on a free clip",
                )
            self.index.probe(self.clip_index(clip_id))
        elif lease.name != name:
            raise StoreError(f"the lease is not for clip {clip_id}", found=lease.name, where=self.where)
        return ClipWriter(self, clip_id, lease, run or {}, verify_writes)


def _backend(path: str | os.PathLike[str] | Backend) -> Backend:
    return LocalBackend(path) if isinstance(path, (str, os.PathLike)) else path


def _reopen(backend: Backend, io_threads: int, lease_timeout: float) -> FeatureStore:
    return FeatureStore(backend, io_threads=io_threads, lease_timeout=lease_timeout)
