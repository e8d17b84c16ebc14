"""Price of the digests of a prepared dataset: `python -m benchmarks.dataset [clips=40 height=128 width=128 rounds=7]`.

Prepares rooms and reads them as probes and extractions do, which compare all that they read with its digest, next to
the libraries alone on the same bytes. Files are in the page cache; where they aren't, the disk decides.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd
import zarr

from benchmarks import command
from configs import console
from configs.options import option
from data.dataset.layout import TABLES, clip_folder
from data.dataset.queries import load_plan, plan_file
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource

PLAN = "paper-8"


@dataclasses.dataclass(frozen=True)
class Options:
    """What to prepare and how often to measure."""

    clips: int = option(40, "clips of the dataset", minimum=4)
    height: int = option(128, "of frames and ground truth, in pixels", minimum=32)
    width: int = option(128, "of frames and ground truth, in pixels", minimum=32)
    rounds: int = option(7, "measurements, of which the median counts", minimum=1)
    folder: str | None = option(None, "where to write the dataset; default the folder for temporary files")


def seconds(action: Callable[[], object]) -> float:
    """Return the CPU time of one call."""
    started = time.process_time()
    action()
    return time.process_time() - started


def tables_alone(path: Path) -> None:
    """Read the tables of a dataset with pandas."""
    for name in TABLES:
        pd.read_parquet(path / name)


def maps_alone(path: Path, clip_id: str, count: int) -> None:
    """Read the first depth maps of a clip with Zarr."""
    array = zarr.open_array(str(clip_folder(path, clip_id) / "gt.zarr" / "depth"), mode="r")
    for index in range(count):
        array[index]


def measure(options: Options, path: Path) -> list[list[object]]:
    """Return a row per kind of reading: seconds with digests, the baseline's, and the median of their ratios."""
    dataset = PreparedDataset(path)
    load_plan(dataset, PLAN)
    plan = plan_file(dataset, PLAN)
    clip_id = str(dataset.clips["clip_id"].iloc[0])
    positions = [int(position) for position in dataset.query_positions(clip_id)]
    warm = PreparedDataset(path)
    warm.depth(clip_id, positions)
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "opening it, over reading its tables": (lambda: PreparedDataset(path), lambda: tables_alone(path)),
        "reading a query plan, over its JSON alone": (
            lambda: load_plan(dataset, PLAN), lambda: json.loads(plan.read_bytes()),
        ),
        "first read of a clip's depth in a process, over Zarr alone": (
            lambda: PreparedDataset(path).depth(clip_id, positions),
            lambda: maps_alone(PreparedDataset(path).path, clip_id, len(positions)),
        ),
        "later reads of it": (
            lambda: warm.depth(clip_id, positions), lambda: maps_alone(path, clip_id, len(positions)),
        ),
    }  # fmt: skip
    rows: list[list[object]] = []
    for what, (checked, alone) in pairs.items():
        found = [(seconds(checked), seconds(alone)) for _ in range(options.rounds)]
        ratio = median(a / b for a, b in found)
        rows.append([what, median(a for a, _ in found), median(b for _, b in found), ratio])
    return rows


def main(options: Options) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = Path(folder) / "rooms"
        config = RoomsConfig(clips=options.clips, height=options.height, width=options.width, render="query")
        prepare(RoomsSource(config), path, plans=(PLAN,), workers=1)
        console.print_table(
            f"digests of a dataset of {options.clips} clips, {options.height} x {options.width}, "
            f"load average {os.getloadavg()[0]:.1f}",
            ["what", "CPU seconds", "without digests", "ratio"],
            measure(options, path),
        )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
