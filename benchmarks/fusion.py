"""Cost of a lazy fusion against reading both parents: `python -m benchmarks.fusion [clips=6 queries=8 batch=4 ...]`.

Two synthetic stores of the published pair's sizes are read batch by batch: both parents as they are, then the fused
view in two ways: computed by the loader's thread, and read apart to be computed where the probe trains. Last the price
of comparing every clip of a store with its dataset, which opening a source includes, against opening the store.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch

from benchmarks import command
from cache import ArraySpec, ClipEntry, FeatureStore
from cache.source import ReadItem
from configs.console import print_table
from configs.files import sealed_json
from configs.names import parse_name
from configs.options import option
from data.dataset.clip import DatasetInfo
from data.dataset.layout import identity_record
from data.dataset.tables import parquet_bytes
from fusion.recipe import Choices, make_recipe
from fusion.staleness import fresh
from fusion.views.assemble import build


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    clips: int = option(6, "clips per store", minimum=1)
    queries: int = option(8, "rows per sample", minimum=1, maximum=20)
    batch: int = option(4, "samples per batch", minimum=1)
    batches: int = option(6, "batches per round", minimum=1)
    rounds: int = option(5, "rounds at least; the median counts", minimum=1)
    seconds: float = option(0.3, "go on until reading the parents took this long: small features need many rounds")
    widths: list[int] = option(help="channels of the two models", factory=lambda: [5120, 4096])
    grids: list[str] = option(help="grids of the two models", factory=lambda: ["17x30", "17x30"])
    threads: int = option(0, "torch threads; 0 = all cores", minimum=0)
    checked: int = option(10_000, "clips of the store that is compared with its dataset", minimum=1)
    cold: bool = option(False, "drop the stores from the page cache before every round")
    folder: str = option("", "where to put the stores; default a temporary folder")


def make(folder: Path, name: str, width: int, grid: str, clips: int) -> FeatureStore:
    """Write a store of random bfloat16 features."""
    height, _, columns = grid.partition("x")
    spec = ArraySpec(
        "", name, 21, 40, None, (int(height), int(columns)), 20, width, "bfloat16",
        tuple(range(20)), tuple((i,) for i in range(20)),
    )  # fmt: skip
    entries = [ClipEntry(f"clip{i}") for i in range(clips)]
    store = FeatureStore.create(
        folder / name, source=name, dataset="bench", fingerprint={"n": name}, clips=entries, arrays=[spec]
    )
    features = torch.randn(spec.shape, generator=torch.Generator().manual_seed(0)).bfloat16()
    for clip_id in store.missing():
        with store.writer(clip_id) as writer:
            writer.put(spec.name, features)
    return store


def drop_cache(stores: list[FeatureStore]) -> None:
    """Ask the kernel to forget the shards."""
    for store in stores:
        for path in Path(store.where).rglob("c.*"):
            file = os.open(path, os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(file)


def main(options: Options) -> int:
    """Measure and print."""
    torch.set_num_threads(options.threads or os.cpu_count() or 1)
    with tempfile.TemporaryDirectory(dir=options.folder or None) as folder:
        measure(options, Path(folder))
        measure_check(options, Path(folder))
    return 0


def measure_check(options: Options, root: Path) -> None:
    """Time opening a store of many clips without and with the comparison of its clips with their dataset."""
    names = [f"scene{number:05d}_00" for number in range(options.checked)]
    digests = [hashlib.sha256(name.encode()).hexdigest() for name in names]
    info = DatasetInfo(
        name="bench", kind="rooms", maker_version=1, parameters={"seed": 0}, taxonomy=None, class_names=(), licence=""
    )
    index = {"clip_id": names, "group_id": names, "split": "train", "clip_sha256": digests, "gt_sha256": digests}
    index |= {f"fact{number}": range(options.checked) for number in range(20)}
    content = parquet_bytes(pd.DataFrame(index))
    folder = root / "datasets" / "bench"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_bytes(sealed_json(identity_record(info, {})))
    (folder / "index.parquet").write_bytes(content)
    manifest = {"clips": options.checked, "tables": {"index.parquet": hashlib.sha256(content).hexdigest()}}
    (folder / "manifest.json").write_bytes(sealed_json(manifest))
    entries = [ClipEntry(name, name, digest) for name, digest in zip(names, digests, strict=True)]
    spec = ArraySpec("", "vgm", 21, 40, None, (1, 1), 1, 1, "bfloat16", (0,), ((0,),))
    where = root / "features" / "bench" / "vgm" / "store"
    store = FeatureStore.create(where, source="vgm", dataset="bench", fingerprint={}, clips=entries, arrays=[spec])
    times: dict[str, list[float]] = {"open": [], "check": []}
    for _ in range(max(options.rounds, 20)):
        start = time.perf_counter()
        FeatureStore.open(where)
        opened = time.perf_counter()
        fresh(root, store)
        times["open"].append(opened - start)
        times["check"].append(time.perf_counter() - opened)
    opening, checking = (1000 * min(times[what]) for what in ("open", "check"))
    print(
        f"comparing {options.checked} clips with their dataset: {checking:.1f} ms, "
        f"{checking / opening:.2f} of opening their store ({opening:.1f} ms); the shortest of each, target: below 50 ms"
    )


def measure(options: Options, folder: Path) -> None:
    """Time the three ways of reading in turn, round after round."""
    stores = [
        make(folder, name, width, grid, options.clips)
        for name, width, grid in zip(("vgm", "vlm"), options.widths, options.grids, strict=True)
    ]
    view = build(parse_name("vgm+vlm"), stores, make_recipe("lnconcat"), Choices())
    ((name, spec),) = view.arrays.items()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(1)
    batches: list[list[ReadItem]] = []
    for _ in range(options.batches):
        rows = [torch.randperm(20, generator=generator)[: options.queries].tolist() for _ in range(options.batch)]
        clips = torch.randint(options.clips, (options.batch,), generator=generator).tolist()
        batches.append([(view.clips[clip], name, picked) for clip, picked in zip(clips, rows, strict=True)])
    plain = [
        [[(c, b.array.name, [b.rows[r] for r in picked]) for c, _, picked in items] for items in batches]
        for b in view.fused[name].branches
    ]
    parents = [
        torch.empty(store.nbytes(items[0]), dtype=torch.uint8) for store, items in zip(stores, plain, strict=True)
    ]
    apart = view.branch_reads()
    out = torch.empty(max(apart.nbytes(batches[0]), view.nbytes(batches[0])), dtype=torch.uint8)

    def read_parents(number: int) -> None:
        for store, items, memory in zip(stores, plain, parents, strict=True):
            store.read(items[number], memory)

    ways: dict[str, Callable[[int], object]] = {
        "both parents": read_parents,
        "fused by the loader's thread": lambda number: view.read(batches[number], out),
        "read apart, fused on the device": lambda number: apart.read(batches[number], out),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    for way in ways.values():
        way(0)
    while len(times["both parents"]) < options.rounds or sum(times["both parents"]) * len(batches) < options.seconds:
        for label, way in ways.items():
            if options.cold:
                drop_cache(stores)
            start = time.perf_counter()
            for number in range(len(batches)):
                way(number)
            times[label].append((time.perf_counter() - start) / len(batches))
    moved = apart.read(batches[0]).to(device)
    arithmetic = []
    for _ in range(options.rounds + 1):
        start = time.perf_counter()
        moved.array.compute(moved.features)
        if device.type == "cuda":
            torch.cuda.synchronize()
        arithmetic.append(time.perf_counter() - start)
    report(options, times, view.nbytes(batches[0]), statistics.median(arithmetic[1:]), spec, device)


def report(
    options: Options, times: dict[str, list[float]], size: int, arithmetic: float, spec: ArraySpec, device: torch.device
) -> None:
    """Print the table."""
    rows = []
    for label, seconds in times.items():
        median = statistics.median(seconds)
        paired = [one / other for one, other in zip(seconds, times["both parents"], strict=True)]
        rows.append([label, 1e3 * median, size / median / 1e9, statistics.median(paired)])
    print_table(
        f"{'cold' if options.cold else 'warm'}, {options.batch} samples of {options.queries} rows on "
        f"{spec.grid[0]}x{spec.grid[1]}, {spec.channels} channels; "
        f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
        ["what", "ms/batch", "GB/s", "data time / parents"],
        rows,
        notes=[
            f"on the device ({device}) a batch takes {1e3 * arithmetic:.1f} ms of arithmetic, part of the probe's step",
            "target: data time of the lazy path below 1.25 of reading both parents",
        ],
    )


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
