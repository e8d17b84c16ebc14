"""One feature store: the doors to reading and writing it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from cache.contents import StoreContents, quarantine_key
from cache.create import initialise
from cache.format import layout, records
from cache.format.clips import ClipEntry
from cache.format.header import sha256
from cache.format.moments import Moments, Vector, merged
from cache.format.moments import from_bytes as parse_moments
from cache.format.spec import ArraySpec
from cache.lease import TIMEOUT, Lease, LeaseBoard
from cache.storage.backend import Backend, put
from cache.storage.local import LocalBackend
from configs.errors import CorruptionError, MissingError, StoreError

if TYPE_CHECKING:
    import torch

    from cache.clip_writer import ClipWriter
    from cache.shard_reader import ReadItem, ShardReader


class FeatureStore(StoreContents):
    """An open store. Use `FeatureStore.create` or `FeatureStore.open`.

    Attributes:
        partial: (clip id, array) pairs that were read as NaN under `allow_partial`; results must carry them.
    """

    def __init__(self, backend: Backend, *, io_threads: int = 1, lease_timeout: float = TIMEOUT) -> None:
        super().__init__(backend)
        self.io_threads, self.lease_timeout = io_threads, lease_timeout
        self.board = LeaseBoard(backend, lease_timeout)
        self.partial: set[tuple[str, str]] = set()

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
            StaleError: the store was made with other parameters; nothing is touched.
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

    # ---- reading

    @cached_property
    def _reader(self) -> ShardReader:
        from cache.shard_reader import ShardReader

        return ShardReader(self, self.io_threads)

    def read(
        self,
        items: Sequence[ReadItem],
        out: torch.Tensor | None = None,
        *,
        verify: bool = False,
        allow_partial: bool = False,
    ) -> torch.Tensor | list[torch.Tensor]:
        """Read rows of clips.

        Args:
            items: (clip id, array name, rows) each; rows in any order, repeats allowed.
            out: where to put the values: a contiguous tensor of the result's dtype and shape, or a flat uint8 tensor
                with at least as many bytes. New memory by default, which costs several times the read itself for
                batches above 32 MB.
            verify: compare every row with the checksum taken when it was written.
            allow_partial: read clips without committed features as NaN and note them in `partial`.

        Returns:
            (items, rows, height, width, channels) in the stored dtype; a list of one tensor (rows, height, width,
            channels) per item if their shapes or dtypes differ; an empty list for no items.

        Raises:
            MissingError: unknown clip, array or row, or a clip that is not committed.
            CorruptionError: the bytes on disk are not the written ones.
            StorageError: the disk refuses.
        """
        return self._reader.read(items, out, verify, allow_partial)

    def nbytes(self, items: Sequence[ReadItem]) -> int:
        """Return the bytes that a flat uint8 `out` of `read` must have for some items."""
        return self._reader.nbytes(items)

    def moments(self, array: str, clip_ids: Iterable[str]) -> Moments:
        """Return the channel statistics of an array over some clips, merged exactly from what was kept per clip.

        Raises:
            MissingError: a clip is not committed; CorruptionError: its statistics are not the written ones.
        """
        spec = self.array(array)
        numbers = sorted({self.clip_index(clip_id) for clip_id in clip_ids})
        return merged((self._clip_moments(clip, array) for clip in numbers), spec.channels)

    def statistics(self, array: str, clip_ids: Iterable[str]) -> tuple[int, Vector, Vector]:
        """Return (count, mean, variance) over all cells of some clips, per channel in float64; errors as `moments`."""
        found = self.moments(array, clip_ids)
        return found.count, found.mean, found.variance

    def _clip_moments(self, clip: int, array: str) -> Moments:
        found = self.index.statistics(clip, array)
        if found is None:
            raise MissingError(
                f"clip {self._entries[clip].clip_id} has no committed features in array {array}",
                where=self.where,
                fix="run the `python -m extract` command of this store again: it fills the gaps",
            )
        generation, _, sha = found
        key = layout.statistics_key(clip, generation)
        where = f"{self.where}/{key}"
        try:
            data = self.backend.read(key)
        except MissingError:
            data = b""
        if sha256(data) != sha:
            raise CorruptionError(
                "channel statistics are not the written ones",
                where=where,
                fix=f"python -m cache repair store={self.where}",
            )
        return parse_moments(data, array, where)

    # ---- writing

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
        names = [self.array(name).name for name in (self._arrays if arrays is None else arrays)]
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
        from cache.clip_writer import ClipWriter

        name = f"{self.clip_index(clip_id):08d}"
        if lease is None:
            lease = self.board.take(name)
            if lease is None:
                raise StoreError(
                    f"clip {clip_id} is being written by {self.board.holder(name) or 'another process'}",
                    where=self.where,
                    fix="leave it to that process; `FeatureStore.claim` tells which clips are free",
                )
            self.index.probe(self.clip_index(clip_id))
        elif lease.name != name:
            raise StoreError(f"the lease is not for clip {clip_id}", found=lease.name, where=self.where)
        return ClipWriter(self, clip_id, lease, run or {}, verify_writes)

    def quarantine(self, clip_id: str, reason: str) -> None:
        """Set a clip aside with a reason; it never counts as done, and a later commit clears it."""
        clip = self.clip_index(clip_id)
        values = {"clip": clip, "clip_id": clip_id, "reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        put(self.backend, quarantine_key(clip), records.render(values))

    def clear_quarantine(self, clip_id: str) -> None:
        """Let a clip be tried again."""
        self.backend.delete(quarantine_key(self.clip_index(clip_id)))


def _backend(path: str | os.PathLike[str] | Backend) -> Backend:
    return LocalBackend(path) if isinstance(path, (str, os.PathLike)) else path


def _reopen(backend: Backend, io_threads: int, lease_timeout: float) -> FeatureStore:
    return FeatureStore(backend, io_threads=io_threads, lease_timeout=lease_timeout)
