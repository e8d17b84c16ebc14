"""Speed of importing ScanNet: `python -m benchmarks.sens [frames=2000 height=480 width=640 rounds=7 folder=...]`.

Writes a recording of so many frames, with annotation, and measures how long its index takes and how much is read for
one clip. The baseline of the index is reading the whole file, as every reader does that goes through it frame by frame.
Bytes are those that the kernel counts for this process. "Cold" asks the kernel to forget the file first, which it may
refuse.
"""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks import command
from configs.console import print_table
from configs.options import option
from data.dataset.clip import QUERY_POSITIONS
from data.emit.scannet_scan import (
    RawScan,
    aggregation,
    as_scan,
    label_ids,
    labels_table,
    pack_depth,
    write_sens,
    write_zip,
)
from data.raw.images import encode_png
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from data.scannet.config import ScannetConfig
from data.scannet.labels import FILE_NAME
from data.scannet.sens import SensFile
from data.scannet.source import ScannetSource

NAME = "scene0000_00"
RENDERED = 20
"""Frames that are rendered; the recording repeats them."""
BLOCK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Options:
    """What to write and how often to measure."""

    frames: int = option(2000, "frames of the recording", minimum=100)
    height: int = option(480, "pixels", minimum=48)
    width: int = option(640, "pixels", minimum=64)
    rounds: int = option(7, "measurements; the median counts", minimum=1)
    folder: str | None = option(None, "where to write the recording; default the folder for temporary files")


@dataclasses.dataclass(frozen=True)
class Written:
    """The raw folder, and the bytes that one clip has to keep: images and depth, instance images."""

    raw: Path
    frames_kept: int
    masks_kept: int


def write(options: Options, raw: Path) -> Written:
    """Write a scan of the wanted length from a few rendered frames."""
    rooms = RoomsConfig(
        clips=1, frames=RENDERED, height=options.height, width=options.width, render="all", dense="all", min_visible=0
    )
    film: RawScan = as_scan(RoomsSource(rooms).make("room00000"), NAME)
    folder = raw / "scans" / NAME
    folder.mkdir(parents=True)
    ranks = np.arange(options.frames) % RENDERED
    depth = [pack_depth(image) for image in film.depth]
    write_sens(
        folder / f"{NAME}.sens", [film.colour[rank] for rank in ranks], [depth[rank] for rank in ranks],
        film.cam2world[ranks], film.intrinsics, film.size, film.size,
    )  # fmt: skip
    masks = {
        kind: [encode_png(m) for m in maps] for kind, maps in (("instance", film.masks), ("label", label_ids(film)))
    }
    for kind, images in masks.items():
        members = {f"{kind}-filt/{number}.png": images[rank] for number, rank in enumerate(ranks)}
        write_zip(folder / f"{NAME}_2d-{kind}-filt.zip", members)
    (folder / f"{NAME}.aggregation.json").write_text(aggregation(film))
    (raw / FILE_NAME).write_text(labels_table())
    taken = ScannetSource(ScannetConfig(annotations="none"), raw).make(NAME).frame_src
    frames = sum(len(film.colour[ranks[n]]) for n in taken) + sum(
        len(depth[ranks[n]]) for n in taken[list(QUERY_POSITIONS)]
    )
    return Written(raw, frames, sum(len(masks["instance"][ranks[n]]) for n in taken))


def index(path: Path) -> None:
    with SensFile(path) as file:
        file.read_index()


def read_whole(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(BLOCK):
            pass


def forget(path: Path) -> None:
    """Ask the kernel to drop the file from memory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def median_ms(work: Callable[[Path], None], path: Path, rounds: int, *, cold: bool) -> tuple[float, float]:
    """Return wall and CPU milliseconds."""
    wall, cpu = [], []
    for _ in range(rounds):
        if cold:
            forget(path)
        start, used = time.perf_counter(), time.process_time()
        work(path)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    return 1000 * statistics.median(wall), 1000 * statistics.median(cpu)


def bytes_read(work: Callable[[], object]) -> int:
    """Return how many bytes this process read while working, as the kernel counts them."""

    def counter() -> int:
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(fields["rchar"])

    empty = counter()
    empty = counter() - empty  # what looking costs
    start = counter()
    work()
    return counter() - start - empty


def report(options: Options, written: Written) -> None:
    path = written.raw / "scans" / NAME / f"{NAME}.sens"
    rows = []
    for cold in (False, True):
        baseline = median_ms(read_whole, path, options.rounds, cold=cold)
        ours = median_ms(index, path, options.rounds, cold=cold)
        rows.append(["no" if cold else "yes", *ours, *baseline, baseline[0] / ours[0]])
    title = f"Opening and indexing {options.frames} frames, {path.stat().st_size / 1e6:.0f} MB"
    columns = ["file in memory", "index ms", "CPU ms", "read whole file ms", "CPU ms", "times faster"]
    print_table(title, columns, rows, notes=["target: under 50 ms once the file is in the kernel's memory"])
    rows = []
    for setting, kept in (
        ("none", written.frames_kept),
        ("require", written.frames_kept + written.masks_kept),
    ):
        source = ScannetSource(ScannetConfig(annotations=setting), written.raw)
        source.make(NAME)  # imports and caches
        read = bytes_read(lambda source=source: source.make(NAME))  # type: ignore[misc]
        rows.append([setting, read / 1e6, kept / 1e6, 100 * (read / kept - 1)])
    print()
    print_table(
        "Importing one clip of 81 positions", ["annotations", "MB read", "MB kept", "% more"], rows,
        notes=["kept: JPEG images, depth at 20 positions, instance images; target: under 10 % more"],
    )  # fmt: skip


def main(options: Options) -> int:
    """Measure and print."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory(prefix="sens-", dir=options.folder) as folder:
        report(options, write(options, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
