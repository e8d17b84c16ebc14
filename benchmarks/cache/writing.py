"""Targets 9 to 11: writing and committing, and the memory both sides take."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.cache.measure import Target, ratio, take_turns
from cache import FeatureStore
from cache.format.shard import write_rows
from cache.storage.local import LocalBackend
from tests.stores import make_clips, make_features, make_spec, make_store

WAN = make_spec("wan", rows=20, grid=(15, 26), channels=5120)


def durable(folder: Path) -> list[Target]:
    backend = LocalBackend(folder)
    backend.make_folders(["tmp", "features.zarr/wan"])
    features = torch.randn(WAN.shape).bfloat16()
    data = features.view(torch.uint8).numpy().reshape(-1)

    def ours(_: int) -> None:
        stage = backend.stage("features.zarr/wan/c.0.0.0.0.0")
        write_rows(stage, features, WAN)
        stage.finish()
        stage.publish()
        backend.sync(["features.zarr/wan"])

    def flat(_: int) -> None:
        file = os.open(folder / "flat.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.write(file, data)
        os.fdatasync(file)
        os.close(file)
        (folder / "flat.new").replace(folder / "flat")

    written, reference = take_turns([ours, flat], 5, 5)
    found = ratio(reference, written)
    return [
        Target("9", "durable write with checksums, relative to a flat write", f"{found:.3f}", ">= 0.85", found >= 0.85)
    ]


def commit(folder: Path) -> list[Target]:
    spec = make_spec("tiny", rows=20, grid=(4, 4), channels=64)
    store = make_store(folder, [spec], 60, written=[])
    features = make_features(spec, 0).bfloat16()
    times = []
    for clip_id in store.clips:
        writer = store.writer(clip_id)
        with writer:
            writer.put(spec.name, features)
            for flushed in writer._flushing:
                flushed.result()
            start = time.perf_counter()
        times.append(time.perf_counter() - start)
    median = statistics.median(times) * 1e3
    return [Target("11", "commit of one clip: publish, statistics, record", f"{median:.2f} ms", "<= 5 ms", median <= 5)]


def memory(folder: Path) -> list[Target]:
    """In processes of their own; the peak is the kernel's, reset before the call."""
    targets = []
    for side, limit in (("write", 0.05), ("read", 0.05)):
        words = [sys.executable, "-m", "benchmarks.cache.writing", side, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        extra, size = map(int, done.stdout.split())
        share = extra / size
        what = f"extra memory to {side} a clip of {size / 1e6:.0f} MB"
        targets.append(Target("10", what, f"{share:.1%}", f"<= {limit:.0%}", share <= limit))
    return targets


def _peak(reset: bool) -> int:
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    facts = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(facts["VmRSS" if reset else "VmHWM"].split()[0]) * 1024


def _measure(side: str, folder: Path) -> None:
    spec = make_spec("native", rows=21, grid=(30, 52), channels=5120)
    warm = make_spec("warm", rows=20, grid=(15, 26), channels=5120)
    store = FeatureStore.create(
        folder / "memory", source="toy", dataset="rooms", fingerprint={}, clips=make_clips(2), arrays=[spec, warm]
    )
    out = torch.zeros((1, *spec.shape), dtype=torch.bfloat16)
    if not store.committed("warm"):
        with store.writer("scene0000") as writer:  # imports, threads and block buffers come before the measurement
            writer.put("warm", torch.ones(warm.shape, dtype=torch.bfloat16))
    store.read([("scene0000", "warm", (0,))])
    if side == "write":
        writer = store.writer("scene0001")
        before = _peak(reset=True)
        with writer:
            writer.put("native", out[0])
        after = _peak(reset=False)
    else:
        before = _peak(reset=True)
        store.read([("scene0001", "native", range(spec.rows))], out=out)
        after = _peak(reset=False)
    print(max(0, after - before), spec.rows * spec.row_bytes)


if __name__ == "__main__":
    torch.set_num_threads(1)
    _measure(sys.argv[1], Path(sys.argv[2]))
