"""One process of an extraction: reader threads -> device -> writer thread, with bounded queues between them.

A group of clips (`batch` neighbours on the store's clip axis) is the unit of work. A clip has the same place in a batch
of the same size in every run and for every number of processes, even where its neighbours are committed, failed or
another process's, so that a resumed store ends with the same bytes. Clips are claimed by lease before they are read; a
clip counts when its commit record exists.
"""

from __future__ import annotations

import math
import os
import queue
import threading
import time
from collections import deque
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from cache.lease import Lease
from cache.store import FeatureStore
from configs.console import Progress, format_bytes, get_logger
from configs.errors import CorruptionError, ModelError, SpatialprobeError
from extract.job.config import AUTO_BATCH
from extract.job.forward import Device, Prepared, Result, prepare, rows, seats
from extract.job.request import Request

GROUPS_AHEAD = 3
"""Groups that are read ahead of the device."""
WRITES_AHEAD = 2
"""Groups of finished features that may wait for the disk."""
WAIT_SECONDS, TELL_SECONDS = 1.0, 15.0
"""How often to look for clips that other processes hold, and to print for how long yet."""
GIVE_UP_AFTER = 5
"""If this many clips fail at the start, the cause isn't the clips."""


@dataclass
class Record:
    """What happened to one clip; one row of extract_log.parquet."""

    clip_id: str
    status: str
    reason: str = ""
    frames: int = 0
    batch: int = 0
    bytes: int = 0
    read_seconds: float = 0.0
    preprocess_seconds: float = 0.0
    wait_seconds: float = 0.0
    device_seconds: float = 0.0
    write_seconds: float = 0.0
    finished_at: float = 0.0


@dataclass
class Group:
    """Clips that are claimed and being read: (clip id, lease, arrays that it lacks), and what the readers will give."""

    clips: list[tuple[str, Lease, list[str]]]
    futures: list[Future[Prepared]] = field(default_factory=list)


class Computed(NamedTuple):
    """The features of one clip: `row` of `result`, whose time `sharing` clips share."""

    clip: Prepared
    result: Result
    row: int
    sharing: int
    waited: float


class Finished(NamedTuple):
    """One clip on its way to the disk."""

    computed: Computed
    lease: Lease
    names: list[str]


class Runner:
    """Works on one share of the clips of a request until none is left to claim.

    Attributes:
        records: what happened to each clip so far; written by several threads.
        adapter: the model on this process's device.
        loading: seconds that it took to load the network.

    Args:
        request: what is computed.
        store: where it goes; what it lacks of the clips and arrays, or the whole store if there is None, is made when
            the first clip is ready to be written, so that a model that can't be loaded or run leaves nothing behind.
        recorded: see `Request.store`.
        device: torch device of this process; None for the one that the request was resolved for.
        batch: clips per forward; 0 = found out.
        readers: reader threads.
        share: (index, count): groups whose number is `index` modulo `count`.
        start: where in the list of groups to begin, as a fraction; processes that share a list begin apart.
        stop_file: once it exists, the current clips are the last ones; "" for none.
        verify_writes: whether to read every shard back before its clip counts.
    """

    def __init__(
        self,
        request: Request,
        store: FeatureStore | None,
        *,
        recorded: Mapping[str, Any] = MappingProxyType({}),
        device: str | None = None,
        batch: int = 1,
        readers: int = 2,
        share: tuple[int, int] = (0, 1),
        start: float = 0.0,
        stop_file: str = "",
        verify_writes: bool = False,
    ) -> None:
        self._request, self._opened, self._readers, self._stop_file = request, store, readers, stop_file
        self._recorded = recorded
        self._device = device or request.variant.device
        self.adapter = request.adapter(self._device)
        self._dataset = request.open_dataset()
        self.records: list[Record] = []
        self._batch, self._automatic, self._share, self._start = batch or AUTO_BATCH, batch == 0, share, start
        self.loading = 0.0
        self._names = [spec.name for spec in request.specs]
        self._verify_writes = verify_writes
        self._failed: set[str] = set()
        self._succeeded = 0
        self._fatal: BaseException | None = None
        self._lock = threading.Lock()
        self._bar: Progress | None = None
        self._started = 0.0

    def todo(self) -> list[list[str]]:
        """Return the groups of clips of this share that still lack an array."""
        lacking = self._lacking(self._names) - self._failed
        groups: dict[int, list[str]] = {}
        for clip_id, index in self._request.places(self._opened).items():
            if clip_id in lacking and (index // self._batch) % self._share[1] == self._share[0]:
                groups.setdefault(index // self._batch, []).append(clip_id)
        ordered = [groups[number] for number in sorted(groups)]
        first = int(self._start * len(ordered))
        return ordered[first:] + ordered[:first]

    def run(self, bar: Progress | None = None) -> None:
        """Process all groups that can be claimed.

        Args:
            bar: shows every finished clip, and how fast they come.

        Raises:
            ModelError, StorageError: the job can't continue; committed clips stay.
        """
        groups = self._claimable()
        if not groups:
            return
        self._bar, self._started = bar, time.perf_counter()
        device = self._load(groups)
        self.loading = time.perf_counter() - self._started
        writes: queue.Queue[list[Finished] | None] = queue.Queue(WRITES_AHEAD)
        writer = threading.Thread(target=self._write_all, args=(writes,), name="extract-writer")
        writer.start()
        try:
            with ThreadPoolExecutor(self._readers, thread_name_prefix="extract-reader") as pool:
                if not self._prepared():
                    self._begin(groups, device, pool, writes)
                    groups = self.todo()
                while groups and not self._halted():
                    if self._pass(groups, device, pool, writes):
                        self._store.refresh()
                        groups = self.todo()
                    else:
                        writes.join()
                        groups = self._claimable()
        finally:
            writes.put(None)
            writer.join()
        if self._fatal is not None:
            raise self._fatal

    @property
    def _store(self) -> FeatureStore:
        assert self._opened is not None  # from the first clip that is written on
        return self._opened

    def _lacking(self, names: Sequence[str]) -> set[str]:
        """Return the requested clips that lack any of some arrays."""
        wanted = {entry.clip_id for entry in self._request.clips}
        store = self._opened
        if store is None or any(name not in store.arrays for name in names):
            return wanted
        return wanted.difference(*[set.intersection(*(set(store.committed(name)) for name in names))])

    def _prepared(self) -> bool:
        """Return whether the store has all arrays and clips, committed or not."""
        store = self._opened
        wanted = {entry.clip_id for entry in self._request.clips}
        return store is not None and set(self._names) <= set(store.arrays) and wanted <= set(store.clips)

    def _claimable(self) -> list[list[str]]:
        """Return what is left to do once any of it can be claimed: waits for other processes, unless `wait=false`.

        A living process of this machine is waited for; another machine's until it has been silent for the time that
        ends its lease, by the clock of this process alone.
        """
        told = -math.inf
        while True:
            if self._opened is not None:
                self._opened.refresh()
            groups = self.todo()
            if not groups or not self._prepared() or self._halted():
                return groups
            held = self._store.board.active()
            names = [f"{self._store.clip_index(clip):08d}" for group in groups for clip in group]
            if any(name not in held for name in names):
                return groups
            if not self._request.config.wait:
                return []
            left = min(held[name] for name in names)
            if time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                first = next(name for name in names if held[name] == left)
                until = "" if left == math.inf else f"; if it stays silent, they are taken over in {left:.0f} s"
                get_logger("extract").info(
                    "waiting for %d clips that %s holds%s; wait=false leaves them to it",
                    len(names), self._store.board.holder(first) or "another process", until,
                )  # fmt: skip
            time.sleep(min(left, WAIT_SECONDS))

    def _begin(
        self, groups: Sequence[Sequence[str]], device: Device, pool: ThreadPoolExecutor, writes: queue.Queue[Any]
    ) -> None:
        """Compute the first group that works without claiming it, then make the store, or what it lacks, for it.

        Of several jobs that begin at once, one keeps such a group and the others drop theirs.
        """
        places = self._request.places(self._opened)
        ready: list[Computed] = []
        failures: list[tuple[str, Exception]] = []
        for members in groups:
            if ready or self._halted() or len(failures) >= GIVE_UP_AFTER:
                break
            futures = self._read(members, device, pool)
            ready, failed = self._forward(members, futures, device, [places[clip_id] for clip_id in members])
            failures += failed
        if ready:
            self._opened = self._request.store(self._recorded)
        for clip_id, error in failures:
            self._fail(clip_id, None, error)
        finished = []
        for computed in ready:
            clip_id = computed.clip.clip_id
            same = self._store.clip_index(clip_id) == places[clip_id]  # else its seat was another one
            lease = self._store.claim(clip_id, device.arrays) if same else None
            if lease is not None:
                finished.append(Finished(computed, lease, self._absent(clip_id, device)))
        if finished:
            writes.put(finished)

    def _read(self, clips: Sequence[str], device: Device, pool: ThreadPoolExecutor) -> list[Future[Prepared]]:
        pin = device.name.startswith("cuda")
        return [pool.submit(prepare, self._dataset, self.adapter, clip_id, pin=pin) for clip_id in clips]

    def _absent(self, clip_id: str, device: Device) -> list[str]:
        index = self._store.clip_index(clip_id)
        return [name for name in device.arrays if self._store.index.shard(index, name) is None]

    def _load(self, groups: Sequence[Sequence[str]]) -> Device:
        """Load what the arrays that are lacking anywhere need."""
        asked = {clip_id for group in groups for clip_id in group}
        lacking = [name for name in self._names if self._lacking([name]) & asked]
        self.adapter.load(self._request.taps(lacking))
        arrays = {name: self._request.arrays[name] for name in lacking}
        return Device(self.adapter, self._device, arrays, self._automatic)

    def _pass(
        self, groups: list[list[str]], device: Device, pool: ThreadPoolExecutor, writes: queue.Queue[Any]
    ) -> bool:
        """Go through the groups once; returns whether any clip could be claimed."""
        ahead: deque[Group] = deque()
        source = self._claimed(groups, device)
        any_claimed = False
        try:
            while not self._halted():
                while len(ahead) < GROUPS_AHEAD and (group := next(source, None)) is not None:
                    group.futures = self._read([clip_id for clip_id, _, _ in group.clips], device, pool)
                    ahead.append(group)
                    any_claimed = True
                if not ahead:
                    break
                self._compute(ahead.popleft(), device, writes)
        finally:
            source.close()
            for group in ahead:  # claimed, but not begun
                for future in group.futures:
                    future.cancel()
                for _, lease, _ in group.clips:
                    lease.release()
        return any_claimed

    def _claimed(self, groups: list[list[str]], device: Device) -> Generator[Group, None, None]:
        for members in groups:
            if self._halted():
                return
            clips = [
                (clip_id, lease, self._absent(clip_id, device))
                for clip_id in members
                if (lease := self._store.claim(clip_id, device.arrays)) is not None
            ]
            if clips:
                yield Group(clips)

    def _compute(self, group: Group, device: Device, writes: queue.Queue[Any]) -> None:
        claimed = {clip_id: (lease, names) for clip_id, lease, names in group.clips}
        numbers = [self._store.clip_index(clip_id) for clip_id in claimed]
        try:
            computed, failures = self._forward(list(claimed), group.futures, device, numbers)
        except BaseException:
            for lease, _ in claimed.values():
                lease.release()
            raise
        for clip_id, error in failures:
            self._fail(clip_id, claimed[clip_id][0], error)
        if computed:
            writes.put([Finished(each, *claimed[each.clip.clip_id]) for each in computed])

    def _forward(
        self, clips: Sequence[str], futures: Sequence[Future[Prepared]], device: Device, numbers: Sequence[int]
    ) -> tuple[list[Computed], list[tuple[str, Exception]]]:
        """Run one group: its clips, what the readers make of them, and their numbers on the store's clip axis.

        Raises:
            ModelError, MemoryError: the job can't continue.
        """
        started = time.perf_counter()
        ready: list[Prepared] = []
        taken: list[int] = []
        failures: list[tuple[str, Exception]] = []
        for clip_id, future, number in zip(clips, futures, numbers, strict=True):
            try:
                ready.append(future.result())
                taken.append(number)
            except Exception as error:
                failures.append((clip_id, error))
        waited = time.perf_counter() - started
        if not ready:
            return [], failures
        order = list(range(len(ready)))  # without a fixed size there are no seats
        seated, place = (order, order) if self._automatic else seats(taken, self._batch)
        try:
            results = list(rows(device.run([ready[index] for index in seated])))
        except (ModelError, MemoryError):
            raise
        except Exception as error:
            return [], failures + [(clip.clip_id, error) for clip in ready]
        computed = []
        for prepared, seat in zip(ready, place, strict=True):
            result, row = results[seat]
            sharing = result.batch if self._automatic else len(ready)
            computed.append(Computed(prepared, result, row, sharing, waited / len(ready)))
        return computed, failures

    def _write_all(self, writes: queue.Queue[list[Finished] | None]) -> None:
        while (group := writes.get()) is not None:
            for finished in group:
                if self._fatal is not None:
                    finished.lease.release()
                    continue
                try:
                    self._write(finished)
                except Exception as error:
                    if isinstance(error, (OSError, CorruptionError)):  # the disk is to blame, not the clip
                        self._fatal = error
                        finished.lease.release()
                    else:
                        self._fail(finished.computed.clip.clip_id, finished.lease, error)
            writes.task_done()

    def _write(self, finished: Finished) -> None:
        (clip, result, row, sharing, waited), lease, names = finished
        clip_id = clip.clip_id
        busy = result.wait() / sharing
        started = time.perf_counter()
        size = 0
        facts = {"device": self._device, "batch": result.batch}
        with self._store.writer(clip_id, lease, run=facts, verify_writes=self._verify_writes) as writer:
            for name in names:
                features = result.arrays[name][row]
                writer.put(name, features)
                size += self._store.array(name).row_bytes * len(features)
        record = Record(
            clip_id=clip_id,
            status="done",
            frames=clip.frames,
            batch=result.batch,
            bytes=size,
            read_seconds=clip.read_seconds,
            preprocess_seconds=clip.preprocess_seconds,
            wait_seconds=waited,
            device_seconds=busy,
            write_seconds=time.perf_counter() - started,
            finished_at=time.time(),
        )
        with self._lock:
            self._succeeded += 1
        self._note(record)

    def _fail(self, clip_id: str, lease: Lease | None, error: Exception) -> None:
        """Set a clip aside with the reason; the next run tries it again."""
        reason = str(error) if isinstance(error, SpatialprobeError) else f"{type(error).__name__}: {error}"
        get_logger("extract").debug("clip %s failed", clip_id, exc_info=error)
        try:
            if self._prepared():  # else nothing has worked yet, and nothing is left behind
                self._store.quarantine(clip_id, reason)
        except OSError as trouble:
            self._fatal = trouble
        if lease is not None:
            lease.release()
        with self._lock:
            self._failed.add(clip_id)
            hopeless = self._succeeded == 0 and len(self._failed) >= GIVE_UP_AFTER
        self._note(Record(clip_id=clip_id, status="failed", reason=reason, finished_at=time.time()))
        if hopeless and self._fatal is None:
            self._fatal = ModelError(
                f"the first {GIVE_UP_AFTER} clips have all failed",
                found=reason,
                fix="fix the cause; the same command continues",
            )

    def _halted(self) -> bool:
        return self._fatal is not None or (bool(self._stop_file) and os.path.exists(self._stop_file))  # noqa: PTH110

    def _note(self, record: Record) -> None:
        """Keep the record of a clip and show it."""
        with self._lock:
            self.records.append(record)
            if self._bar is not None:
                self._bar.note(rates(self.records, time.perf_counter() - self._started))
                self._bar.advance()


def rates(records: list[Record], seconds: float, processes: int = 1) -> str:
    """Return clips, frames and bytes per second and the share of the time that the devices were busy."""
    done = [record for record in records if record.status == "done"]
    seconds = max(seconds, 1e-9)
    busy = sum(record.device_seconds for record in done) / seconds / processes
    written = sum(record.bytes for record in done)
    return (
        f"{len(done) / seconds:.2f} clips/s, {sum(r.frames for r in done) / seconds:.0f} frames/s, "
        f"{format_bytes(written / seconds)}/s, device busy {busy:.0%}"
    )
