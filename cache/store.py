"""One feature store: what it holds, what is committed, and the doors to reading and writing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from cache import clips, layout, records
from cache.backend import Backend, put
from cache.clips import ClipEntry
from cache.commits import CommitIndex, ShardRecord
from cache.header import Header, load_covered, load_header
from cache.init import initialise
from cache.lease import TIMEOUT, Lease, LeaseBoard
from cache.local import LocalBackend
from cache.moments import Moments, Vector, merged
from cache.moments import from_bytes as parse_moments
from cache.spec import ArraySpec
from configs.errors import CorruptionError, MissingError, StoreError

if TYPE_CHECKING:
    import torch

    from cache.reader import ReadItem, ShardReader
    from cache.writer import ClipWriter


class FeatureStore:
    """An open store. Use `FeatureStore.create` or `FeatureStore.open`.

    Attributes:
        backend: its storage.
        header: identity, arrays and file digests, as of `open` or the last `refresh`.
        partial: (clip id, array) pairs that were read as NaN under `allow_partial`; results must carry them.
    """

    def __init__(self, backend: Backend, *, io_threads: int = 1, lease_timeout: float = TIMEOUT) -> None:
        self.backend = backend
        self.io_threads, self.lease_timeout = io_threads, lease_timeout
        self.board = LeaseBoard(backend, lease_timeout)
        self.partial: set[tuple[str, str]] = set()
        self._checked: set[str] = set()
        self._looked_at = -1.0
        self._load()

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

    def _load(self) -> None:
        header = load_header(self.backend)
        header, data = load_covered(self.backend, header, layout.CLIPS)
        self.header: Header = header
        self._entries = clips.from_parquet(data, f"{self.where}/{layout.CLIPS}")
        self._clip_index = {entry.clip_id: number for number, entry in enumerate(self._entries)}
        self._arrays = {spec.name: spec for spec in header.arrays}
        self.index = CommitIndex(self.backend, header.fingerprint_digest)
        if layout.MANIFEST in header.files:
            from cache.manifest import preload

            preload(self.backend, header, self.index)
        self.index.refresh()

    # ---- what it is

    @property
    def where(self) -> str:
        """Folder of the store, for messages."""
        return self.backend.where

    @property
    def source(self) -> str:
        """What made the features."""
        return self.header.source

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        return self.header.dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value."""
        return self.header.fingerprint

    @cached_property
    def fingerprint_digest(self) -> str:
        """SHA-256 of the fingerprint; its first 12 digits name the folder."""
        return self.header.fingerprint_digest

    @property
    def clips(self) -> list[str]:
        """The clip ids in order of the clip axis."""
        return [entry.clip_id for entry in self._entries]

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The clips with all that is known of them, in order of the clip axis."""
        return self._entries

    @property
    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays by name, in order of creation."""
        return dict(self._arrays)

    def array(self, name: str) -> ArraySpec:
        """Return one array.

        Raises:
            MissingError: no such array; the message names the closest.
        """
        try:
            return self._arrays[name]
        except KeyError:
            from configs.loader import closest

            raise MissingError(
                f"the store has no array {name!r}", where=self.where, fix=closest(name, self._arrays)
            ) from None

    def clip_index(self, clip_id: str) -> int:
        """Return the index of a clip on the clip axis.

        Raises:
            MissingError: no such clip; the message names the closest.
        """
        try:
            return self._clip_index[clip_id]
        except KeyError:
            from configs.loader import closest

            raise MissingError(
                f"the store has no clip {clip_id!r}", where=self.where, fix=closest(clip_id, self._clip_index)
            ) from None

    def entry(self, clip_id: str) -> ClipEntry:
        """Return what is known of one clip."""
        return self._entries[self.clip_index(clip_id)]

    def refresh(self) -> None:
        """Look for clips, arrays and commits that other processes have added."""
        if self.backend.read(layout.STORE) != self.header.to_bytes():
            self._load()
        else:
            self.index.refresh()

    # ---- what is committed

    def coverage(self) -> dict[str, float]:
        """Return the committed share of the clips of each array, in [0, 1]."""
        counts = self.index.counts()
        return {name: counts.get(name, 0) / len(self._entries) for name in self._arrays}

    def committed(self, array: str) -> list[str]:
        """Return the ids of the clips that have an array, in order of the clip axis."""
        self.array(array)
        return [self._entries[clip].clip_id for clip in self.index.committed(array)]

    def missing(self, arrays: Iterable[str] | None = None, *, quarantined: bool = False) -> list[str]:
        """Return the ids of the clips that lack any of some arrays, in order.

        Args:
            arrays: array names; all by default.
            quarantined: whether to include clips set aside by `quarantine`.
        """
        names = [self.array(name).name for name in (self._arrays if arrays is None else arrays)]
        done = [set(self.index.committed(name)) for name in names]
        complete = set.intersection(*done) if done else set(range(len(self._entries)))
        left_out = set() if quarantined else set(self.quarantined())
        return [
            entry.clip_id
            for clip, entry in enumerate(self._entries)
            if clip not in complete and entry.clip_id not in left_out
        ]

    def shard_record(self, clip: int, array: str) -> ShardRecord | None:
        """Return the commit record of one shard; looks once more on the disk before it says None."""
        record = self.index.shard(clip, array)
        if record is None and time.monotonic() - self._looked_at > 1:
            self._looked_at = time.monotonic()
            self.index.refresh()
            record = self.index.shard(clip, array)
        return record

    def check_array(self, name: str) -> None:
        """Make sure, once per array, that its Zarr metadata is what was written."""
        if name not in self._checked:
            load_covered(self.backend, self.header, f"{layout.array_folder(name)}/zarr.json")
            self._checked.add(name)

    # ---- reading

    @cached_property
    def _reader(self) -> ShardReader:
        from cache.reader import ShardReader

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
        from cache.header import sha256

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

    def writer(self, clip_id: str, lease: Lease | None = None, run: Mapping[str, Any] | None = None) -> ClipWriter:
        """Return a writer for one clip; see `ClipWriter`.

        Args:
            clip_id: the clip.
            lease: from `claim`; claimed here if not given.
            run: facts for the commit record, JSON types.

        Raises:
            StoreError: another process is writing this clip, or the lease belongs to another clip.
        """
        from cache.writer import ClipWriter

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
        return ClipWriter(self, clip_id, lease, run or {})

    def quarantine(self, clip_id: str, reason: str) -> None:
        """Set a clip aside with a reason; it never counts as done, and a later commit clears it."""
        clip = self.clip_index(clip_id)
        values = {"clip": clip, "clip_id": clip_id, "reason": reason, "at": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        put(self.backend, _quarantine_key(clip), records.render(values))

    def quarantined(self) -> dict[str, str]:
        """Return the clips that were set aside, with reasons."""
        found = {}
        for name in sorted(self.backend.names(layout.QUARANTINE)):
            key = f"{layout.QUARANTINE}/{name}"
            try:
                values = records.parse(self.backend.read(key), f"{self.where}/{key}")
            except MissingError:  # cleared a moment ago
                continue
            found[str(values["clip_id"])] = str(values["reason"])
        return found

    def clear_quarantine(self, clip_id: str) -> None:
        """Let a clip be tried again."""
        self.backend.delete(_quarantine_key(self.clip_index(clip_id)))


def _quarantine_key(clip: int) -> str:
    return f"{layout.QUARANTINE}/{clip:08d}.json"


def _backend(path: str | os.PathLike[str] | Backend) -> Backend:
    return LocalBackend(path) if isinstance(path, (str, os.PathLike)) else path


def _reopen(backend: Backend, io_threads: int, lease_timeout: float) -> FeatureStore:
    return FeatureStore(backend, io_threads=io_threads, lease_timeout=lease_timeout)
