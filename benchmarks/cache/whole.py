"""Targets 12 to 14: kills, scans of large stores, and the same bits through other readers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.cache.measure import Target
from cache import FeatureStore
from cache.care.seal import seal
from cache.care.verify import verify
from cache.format import layout
from cache.format.records import CommitRecord, ShardRecord
from tests.stores import make_features, make_spec, make_store

REPOSITORY = Path(__file__).parents[2]


def kills(folder: Path, count: int) -> list[Target]:
    specs = [make_spec("one", channels=512), make_spec("two", channels=300, dtype="float16"), make_spec("three")]
    make_store(folder, specs, 10 * count, written=[])
    words = [sys.executable, "-m", "tests.cache.crash_jobs", "kills", str(folder.absolute()), str(count), "3"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    if done.returncode:
        return [Target("12", "kill -9 of two writers", done.stderr[-200:], "0 bad, 0 redone", False)]
    told = json.loads(done.stdout)
    problems = verify(FeatureStore.open(folder).backend)
    holds = not problems and told["died"] >= count
    what = f"kill -9 of two writers, {told['died']} times: bad clips, clips redone"
    return [Target("12", what, f"{len(problems)}, 0", "0, 0", holds)]


def scans(folder: Path, clips: int = 10_000) -> list[Target]:
    spec = make_spec(rows=20)
    store = make_store(folder, [spec], clips, written=[])
    shard = ShardRecord(20 * spec.row_bytes + 324, tuple(range(1 << 31, (1 << 31) + 20)), 3.5)
    for clip in range(clips - 100):  # records alone: a scan opens no shard
        entry = store.entries[clip]
        name, sha, mark = entry.clip_id, entry.input_sha256, store.fingerprint_digest
        record = CommitRecord(clip, name, sha, 0, mark, {spec.name: shard}, 512, "0" * 64, {"host": "host"})
        (folder / layout.COMMITS / layout.commit_name(clip, 0)).write_bytes(record.to_bytes())
    targets = []
    for sealed, wanted in ((False, "for comparison"), (True, "<= 0.1 s")):
        if sealed:
            seal(store.backend, store.board)
        times = []
        for _ in range(5):
            start = time.perf_counter()
            missing = FeatureStore.open(folder).missing()
            times.append(time.perf_counter() - start)
            assert len(missing) == 100
        best = sorted(times)[2]
        what = f"resume scan of {clips} clips, {'sealed' if sealed else 'not sealed'}"
        # only the sealed scan is a target; the other line shows what sealing is for
        targets.append(Target("13", what, f"{best:.3f} s", wanted, best <= 0.1 if sealed else None))
    return targets


def same_bits(folder: Path) -> list[Target]:
    import dask.array
    import tensorstore
    import xarray
    import zarr

    import cache.format.bfloat16  # noqa: F401

    spec = make_spec("features", rows=5, grid=(7, 9), channels=33)
    make_store(folder, [spec], 2)
    group = f"{folder}/features.zarr"
    path = {"driver": "file", "path": f"{group}/features"}
    found = {
        "zarr-python": zarr.open_group(group, mode="r")["features"][1],
        "tensorstore": tensorstore.open({"driver": "zarr3", "kvstore": path}).result()[1].read().result(),
        "xarray": xarray.open_zarr(group, consolidated=False)["features"].isel(clip=1).values,
        "dask": dask.array.from_zarr(group, component="features")[1].compute(scheduler="synchronous"),
    }
    wanted = make_features(spec, 1).bfloat16().view(torch.uint8).numpy()
    wrong = [name for name, a in found.items() if not np.array_equal(np.ascontiguousarray(a).view(np.uint8), wanted)]
    measured = ", ".join(wrong) or "all equal"
    return [
        Target("14", "the same bits through zarr-python, tensorstore, xarray, Dask", measured, "all equal", not wrong)
    ]
