"""Targets 1 to 8: reading and loading."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.cache.measure import Target, Work, ratio, take_turns
from cache import ArraySpec, FeatureLoader, FeatureStore
from tests.stores import make_clips, make_spec

WAN = make_spec("wan", rows=20, grid=(15, 26), channels=5120)
QWEN = make_spec("qwen", rows=20, grid=(17, 30), channels=2048)
INTERN = make_spec("intern", rows=20, grid=(16, 16), channels=896)
TINY = make_spec("tiny", rows=20, grid=(4, 4), channels=64)
CLIPS = 6


def build(folder: Path) -> FeatureStore:
    """Write a store with rows of 4 MB, 2.1 MB, 0.46 MB and 2 kB."""
    store = FeatureStore.create(
        folder,
        source="toy",
        dataset="rooms",
        fingerprint={"benchmark": 1},
        clips=make_clips(CLIPS),
        arrays=[WAN, QWEN, INTERN, TINY],
    )
    features = {spec.name: torch.randn(spec.shape).bfloat16() for spec in (WAN, QWEN, INTERN, TINY)}
    for clip_id in store.clips:
        with store.writer(clip_id) as writer:
            for name, values in features.items():
                writer.put(name, values)
    return FeatureStore.open(folder)


class Pair:
    """The same random samples of 4 rows through the store and through plain preadv, into reused buffers."""

    def __init__(self, store: FeatureStore, spec: ArraySpec, rows: int = 4, count: int = 64) -> None:
        rng = random.Random(spec.name)
        self.store, self.spec = store, spec
        self.samples = [(rng.choice(store.clips), tuple(rng.sample(range(spec.rows), rows))) for _ in range(count)]
        shape = (1, rows, *spec.shape[1:])
        self.out = torch.empty(shape, dtype=torch.bfloat16)
        self.raw_out = memoryview(torch.empty(shape, dtype=torch.bfloat16).view(torch.uint8).numpy().reshape(-1))
        folder = f"{store.where}/features.zarr/{spec.name}"
        self.files = {clip: os.open(f"{folder}/c.{i}.0.0.0.0", os.O_RDONLY) for i, clip in enumerate(store.clips)}
        for i in range(count):
            self.read(i)
            self.raw(i)

    def read(self, sample: int) -> None:
        clip, rows = self.samples[sample % len(self.samples)]
        self.store.read([(clip, self.spec.name, rows)], out=self.out)

    def read_first(self, sample: int) -> None:
        """Read rows as a process does that has not read them before."""
        for checked in self.store.checked_rows.values():
            checked.rows = 0
        self.read(sample)

    def raw(self, sample: int) -> None:
        clip, rows = self.samples[sample % len(self.samples)]
        file, size = self.files[clip], self.spec.row_bytes
        for place, row in enumerate(rows):
            os.preadv(file, [self.raw_out[place * size : (place + 1) * size]], row * size)

    def drop(self, sample: int) -> None:
        os.posix_fadvise(self.files[self.samples[sample % len(self.samples)][0]], 0, 0, os.POSIX_FADV_DONTNEED)


def warm(store: FeatureStore) -> list[Target]:
    """Later reads of rows, which have targets, and first reads, which compare checksums and state their price."""
    targets = []
    for number, spec, wanted in (("1", WAN, 0.90), ("1", QWEN, 0.90), ("2", INTERN, 0.80)):
        pair = Pair(store, spec)
        read, raw = take_turns([pair.read, pair.raw], 40, 9)
        found = ratio(raw, read)
        rows = f"of warm random rows of {spec.row_bytes / 1e6:.2g} MB, speed relative to raw preadv"
        targets.append(Target(number, f"later reads {rows}", f"{found:.3f}", f">= {wanted}", found >= wanted))
        first, raw = take_turns([pair.read_first, pair.raw], 40, 9)
        price = sorted(a - b for a, b in zip(first, raw, strict=True))[4] / 4
        measured = f"{ratio(raw, first):.3f}, {price * 1e3:.2f} ms per row"
        targets.append(Target(number, f"first reads {rows}", measured, "the price of checking", None))
    pair = Pair(store, TINY, rows=1)
    read, raw = take_turns([pair.read, pair.raw], 400, 9)
    extra = sorted(a - b for a, b in zip(read, raw, strict=True))[4] * 1e6
    targets.append(Target("6", "extra time per call, rows of 2 kB", f"{extra:.1f} us", "<= 25 us", extra <= 25))
    return targets


def cold(store: FeatureStore) -> list[Target]:
    """Pages dropped before each sample; on virtual disks the host may still hold them."""
    os.sync()
    targets = []
    for threads, wanted in ((1, 0.90), (4, 1.05)):
        pair = Pair(FeatureStore.open(store.where, io_threads=threads), WAN)
        if threads > 1:  # several requests in flight need several items
            pair = _Spread(FeatureStore.open(store.where, io_threads=threads), WAN)
        read, raw = take_turns([pair.read, pair.raw], 16, 7, before=pair.drop)
        found = ratio(raw, read)
        what = f"cold random rows of 4 MB, {threads} io thread{'s' * (threads > 1)}, relative to one raw stream"
        targets.append(Target("3", what, f"{found:.3f}", f">= {wanted}", found >= wanted))
    return targets


class _Spread(Pair):
    """Samples of one row of each of 4 clips."""

    def _clips(self, sample: int) -> list[tuple[str, int]]:
        rng = random.Random(sample)
        return [(clip, rng.randrange(self.spec.rows)) for clip in rng.sample(self.store.clips, 4)]

    def read(self, sample: int) -> None:
        items = [(clip, self.spec.name, (row,)) for clip, row in self._clips(sample)]
        self.store.read(items, out=self.out.view(4, 1, *self.spec.shape[1:]))

    def raw(self, sample: int) -> None:
        size = self.spec.row_bytes
        for place, (clip, row) in enumerate(self._clips(sample)):
            os.preadv(self.files[clip], [self.raw_out[place * size : (place + 1) * size]], row * size)

    def drop(self, sample: int) -> None:
        for clip, _ in self._clips(sample):
            os.posix_fadvise(self.files[clip], 0, 0, os.POSIX_FADV_DONTNEED)


def _io() -> tuple[int, int]:
    facts = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(facts["rchar"]), int(facts["syscr"])


def economy(store: FeatureStore) -> list[Target]:
    """Targets 4 and 5, counted by the kernel."""
    spec, count = QWEN, 64
    fresh = FeatureStore.open(store.where)
    fresh.index.read_all()
    fresh.check_array(spec.name)
    fresh.read([(fresh.clips[0], spec.name, (0,))])
    self_chars, self_calls = _cost_of_looking()
    chars, calls = _io()
    fresh.read([(fresh.clips[1], spec.name, (1, 5, 9, 13))])
    after_chars, after_calls = _io()
    requests = after_calls - calls - self_calls + 1  # and one open
    first = (after_chars - chars - self_chars) / (4 * spec.row_bytes)
    pair = Pair(fresh, spec, count=count)
    chars, _ = _io()
    for sample in range(count):
        pair.read(sample)
    share = (_io()[0] - chars - self_chars) / (count * 4 * spec.row_bytes)
    share = max(share, first)
    return [
        Target("4", "bytes read per byte needed", f"{share:.4f}", "<= 1.01", share <= 1.01),
        Target("5", "opens + preads per sample of 4 rows of a new clip", str(requests), "<= 6", requests <= 6),
    ]


def _cost_of_looking() -> tuple[int, int]:
    first = _io()
    second = _io()
    return second[0] - first[0], second[1] - first[1]


def others(store: FeatureStore) -> list[Target]:
    import tensorstore
    import zarr

    import cache.format.bfloat16  # noqa: F401  # registers the type

    pair = Pair(store, QWEN)
    array: Any = zarr.open_group(f"{store.where}/features.zarr", mode="r")["qwen"]
    path = {"driver": "file", "path": f"{store.where}/features.zarr/qwen"}
    stored = tensorstore.open({"driver": "zarr3", "kvstore": path}).result()

    def with_zarr(sample: int) -> None:
        clip, rows = pair.samples[sample]
        for row in rows:
            array[store.clip_index(clip), row]

    def with_tensorstore(sample: int) -> None:
        clip, rows = pair.samples[sample]
        stored[store.clip_index(clip), list(rows)].read().result()

    works: list[Work] = [pair.read, with_zarr, with_tensorstore]
    for work in works:
        work(0)
    ours, by_zarr, by_tensorstore = take_turns(works, 16, 5)
    fast, faster = ratio(by_zarr, ours), ratio(by_tensorstore, ours)
    return [
        Target("7", "speed-up over zarr-python row by row", f"{fast:.2f}x", ">= 4x", fast >= 4),
        Target("7", "speed-up over tensorstore", f"{faster:.2f}x", ">= 1.5x", faster >= 1.5),
    ]


class _Rows(Dataset[Any]):
    def __init__(self, store: FeatureStore, samples: list[Any]) -> None:
        self.store, self.samples = store, samples

    def __getitems__(self, numbers: list[int]) -> Any:
        return self.store.read([self.samples[i] for i in numbers])

    def __len__(self) -> int:
        return len(self.samples)


def loading(store: FeatureStore) -> list[Target]:
    """Batches of 64 MB: 4 samples of 4 rows of 4 MB."""
    rng = random.Random(1)
    samples = [(rng.choice(store.clips), "wan", tuple(rng.sample(range(20), 4))) for _ in range(48)]
    loader = FeatureLoader(store, samples, 4, shuffle=False)
    workers = DataLoader(_Rows(store, samples), 4, num_workers=2, collate_fn=_same, persistent_workers=True)
    pair = Pair(store, WAN)
    buffers = [memoryview(torch.empty(16 * WAN.row_bytes, dtype=torch.uint8).numpy()) for _ in range(3)]

    def raw(_: int) -> None:
        for number in range(0, len(samples), 4):
            place, buffer = 0, buffers[number // 4 % 3]
            for clip, _name, rows in samples[number : number + 4]:
                for row in rows:
                    part = buffer[place : place + WAN.row_bytes]
                    os.preadv(pair.files[clip], [part], row * WAN.row_bytes)
                    place += WAN.row_bytes

    def use(batches: Any) -> Work:
        def work(_: int) -> None:
            for batch in batches:
                del batch

        return work

    works = [use(loader), use(workers), raw]
    for work in works:
        work(0)
    ours, by_workers, by_raw = take_turns(works, 1, 7)
    faster, share = ratio(by_workers, ours), ratio(by_raw, ours)
    speed = len(samples) * 4 * WAN.row_bytes / sorted(ours)[3] / 1e9
    return [
        Target("8", f"loader ({speed:.1f} GB/s) over DataLoader, 2 workers", f"{faster:.2f}x", ">= 3x", faster >= 3),
        Target("8", "loader relative to raw preadv", f"{share:.3f}", ">= 0.8", share >= 0.8),
    ]


def _same(batch: Any) -> Any:
    return batch
