"""Writing one clip: everything is staged, then published, and counts from the moment its commit record exists."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

from cache.contents import StoreContents
from cache.format import layout, moments
from cache.format.records import CommitRecord, ShardRecord, load_commit
from cache.format.shard import ClipFeatures, check_shard, write_shard
from cache.lease import Lease
from cache.storage.backend import Stage
from cache.storage.process import this_process
from configs.console import get_logger
from configs.errors import CorruptionError, MissingError, StoreError
from configs.files import sha256_bytes


class ClipWriter:
    """Writes arrays of one clip and commits them together when the block ends without an error.

    Use `with store.writer(clip_id) as writer: writer.put(name, tensor)`. Nothing is visible before the end of the
    block; after it everything is durable. One writer belongs to one thread.

    Args:
        store: the store.
        clip_id: the clip.
        lease: the right to write it.
        run: what to note in the commit record, JSON types: run id, device, seconds. Not part of the store's identity.
        verify_writes: read every shard back and compare it with its checksums before the clip counts.
    """

    def __init__(
        self, store: StoreContents, clip_id: str, lease: Lease, run: Mapping[str, Any], verify_writes: bool = False
    ) -> None:
        self.store, self.clip_id, self.lease, self.run = store, clip_id, lease, run
        self.clip = store.clip_index(clip_id)
        self._committed = {name for name in store.arrays if store.index.shard(self.clip, name) is not None}
        self._stages: dict[str, Stage] = {}
        self._shards: dict[str, ShardRecord] = {}
        self._moments: dict[str, moments.Moments] = {}
        self._flushing: list[Future[None]] = []
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="feature writer")
        self._started = time.monotonic()
        self._verify_writes = verify_writes

    def put(self, array: str, features: ClipFeatures) -> None:
        """Stage one array of the clip: (rows, height, width, channels).

        The tensor may be reused when this returns. A tensor in the stored dtype is written without a copy; others are
        rounded row by row.

        Raises:
            NonFiniteError: NaN, infinity, or a value that overflows the stored dtype.
            StoreError: wrong shape, or the array is already committed for this clip.
            MissingError: no such array.
            StorageError: the file system reports an error.
        """
        spec = self.store.array(array)
        if array in self._shards or array in self._committed:
            raise StoreError(
                f"array {array} of clip {self.clip_id} is already there; committed features are never rewritten",
                where=self.store.where,
            )
        stage = self.store.backend.stage(layout.shard_key(array, self.clip))
        self._stages[array] = stage
        self._shards[array], self._moments[array] = write_shard(stage, features, spec, self._executor)
        self._flushing.append(self._executor.submit(stage.finish))  # the disk works while the next array is computed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._commit()
        finally:
            self._executor.shutdown(wait=True)
            for stage in self._stages.values():
                stage.discard()
            self.lease.release()

    def _commit(self) -> None:
        if not self._shards:
            raise StoreError(f"nothing was written for clip {self.clip_id}", where=self.store.where)
        for future in self._flushing:
            future.result()
        backend, index = self.store.backend, self.store.index
        generation = index.probe(self.clip)
        if self._overtaken():
            return
        if not self.lease.holds():
            raise StoreError(
                f"the lease on clip {self.clip_id} ran out while it was being written; nothing was committed",
                where=self.store.where,
                fix="run the same command again; if this happens again, the storage stalls for minutes",
            )
        for stage in self._stages.values():
            stage.publish()
        statistics = moments.to_bytes(self._moments)
        while True:
            record = self._record(generation, statistics)
            backend.replace(layout.statistics_key(self.clip, generation), statistics, durable=True)
            backend.sync(map(layout.array_folder, self._stages))
            if self._verify_writes:
                self._read_back()
            if backend.create(record.key, record.to_bytes(), durable=True):
                break
            self._settle(generation)
            generation = index.probe(self.clip)
            if self._overtaken():
                return
        index.add(record)
        backend.delete(layout.quarantine_key(self.clip))

    def _read_back(self) -> None:
        """Compare the published shards with the checksums taken from memory.

        Raises:
            CorruptionError: the disk returns other bytes; the clip does not count and is done again.
        """
        for name, shard in self._shards.items():
            key = layout.shard_key(name, self.clip)
            message = check_shard(self.store.backend, key, self.store.array(name), shard)
            if message:
                raise CorruptionError(
                    f"what was just written reads back differently: {message}",
                    where=f"{self.store.where}/{key}",
                    fix="check the disk and its cables; the same command does this clip again",
                )

    def _record(self, generation: int, statistics: bytes) -> CommitRecord:
        entry = self.store.entry(self.clip_id)
        return CommitRecord(
            clip=self.clip,
            clip_id=self.clip_id,
            input_sha256=entry.input_sha256,
            generation=generation,
            fingerprint=self.store.fingerprint_digest,
            arrays=dict(sorted(self._shards.items())),
            statistics_bytes=len(statistics),
            statistics_sha256=sha256_bytes(statistics),
            run={
                **self.run,
                "host": this_process().host,
                "pid": this_process().pid,
                "seconds": round(time.monotonic() - self._started, 3),
                "committed_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            },
        )

    def _overtaken(self) -> bool:
        """Return whether another process has committed the same values meanwhile.

        Raises:
            StoreError: other values were committed.
        """
        shards = {name: self.store.index.shard(self.clip, name) for name in self._shards}
        if not any(shards.values()):
            return False
        if all(shard is None or shard.crc32c == self._shards[name].crc32c for name, shard in shards.items()):
            get_logger("cache").info("clip %s was committed by another process meanwhile", self.clip_id)
            return True
        raise StoreError(
            f"another process has committed different values for clip {self.clip_id} meanwhile; its values are kept",
            where=self.store.where,
            fix="run one job per (model, dataset), or make the backbone deterministic",
        )

    def _settle(self, generation: int) -> None:
        """After losing a race with shards already in place: withdraw the winner's commit if its bytes were overwritten.

        Reached only by a holder that slept between its lease check and its commit for longer than the lease lasts.
        """
        try:
            winner = load_commit(self.store.backend, self.clip, generation, self.store.fingerprint_digest)
        except MissingError:
            return
        mine = {name: self._shards[name] for name in self._shards if name in winner.arrays}
        if all(winner.arrays[name].crc32c == shard.crc32c for name, shard in mine.items()):
            return
        self.store.backend.delete(layout.MANIFEST)
        self.store.backend.delete(winner.key)
        self.store.backend.sync(["", layout.COMMITS])
        raise StoreError(
            f"two processes wrote different values for clip {self.clip_id}; its commit was withdrawn",
            where=self.store.where,
            fix="run the same command again: it redoes this clip",
        )
