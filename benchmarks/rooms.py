"""Speed of the rooms: `python -m benchmarks.rooms [frames=20 rooms=4 sizes=128,256 processes=1,2]`.

CPU seconds are those of the process itself, so they hold on a shared machine too; wall seconds say what a person
waits.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from benchmarks import command
from configs.console import print_table
from configs.options import option
from data.raw.images import encode_jpeg
from data.rooms.config import RoomsConfig
from data.rooms.recording import FrameRenderer
from data.rooms.source import RoomsSource
from data.rooms.world import build


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    rooms: int = option(4, "rooms, half of them walked through, half orbited", minimum=1)
    frames: int = option(20, "frames per room", minimum=1, maximum=81)
    sizes: list[int] = option(help="heights = widths in pixels", factory=lambda: [128, 256])
    processes: list[int] = option(help="numbers of processes that make clips at once", factory=lambda: [1, 2])
    clips: int = option(4, "clips per process in the test of whole clips", minimum=1)


@dataclasses.dataclass
class Cost:
    """CPU and wall seconds of some units of work."""

    cpu: float = 0.0
    wall: float = 0.0
    count: int = 0

    def timed(self, work: object) -> None:
        """Run a callable and add its cost."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()  # type: ignore[operator]
        self.cpu += time.process_time() - cpu
        self.wall += time.perf_counter() - wall
        self.count += 1


def frames(options: Options, size: int) -> dict[str, Cost]:
    """Time the steps of single frames in one process."""
    costs = {name: Cost() for name in ("path and checks, per clip", "geometry only", "geometry and colour", "jpeg")}
    config = RoomsConfig(height=size, width=size)
    encode_jpeg(FrameRenderer(build(config, 0)).render(0).colour, 95)  # warm up: imports, texture atlas
    for number in range(options.rooms):
        costs["path and checks, per clip"].timed(lambda number=number: build(config, number))
        renderer = FrameRenderer(build(config, number))
        renderer.render(0)
        for step in range(options.frames):
            position = step * 80 // options.frames
            costs["geometry only"].timed(lambda r=renderer, p=position: r.render(p, colour=False))
            costs["geometry and colour"].timed(lambda r=renderer, p=position: r.render(p))
            image = renderer.render(position).colour
            costs["jpeg"].timed(lambda image=image: encode_jpeg(image, 95))
    return costs


def one_clip(source: RoomsSource, clip_id: str) -> float:
    """Make a clip and return its CPU seconds."""
    start = time.process_time()
    source.make(clip_id)
    return time.process_time() - start


def clips(options: Options, size: int, processes: int, geometry: float) -> list[object]:
    """Time whole clips of 81 frames, everything included, in several processes."""
    source = RoomsSource(RoomsConfig(clips=options.clips * processes, height=size, width=size))
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(one_clip, [source] * processes, source.clip_ids()[:processes]))  # start and warm up
        wall = time.perf_counter()
        cpu = list(pool.map(one_clip, [source] * source.config.clips, source.clip_ids()))
        wall = time.perf_counter() - wall
    total, count = sum(cpu), 81 * len(cpu)
    return [size, processes, count / total, count / wall / processes, 60 * len(cpu) / wall, total / count / geometry]


def main(options: Options) -> int:
    """Measure and print."""
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    rows, geometry = [], {}
    for size in options.sizes:
        for name, cost in frames(options, size).items():
            rows.append([size, name, 1000 * cost.cpu / cost.count, cost.count / cost.cpu, cost.count / cost.wall])
            if name == "geometry only":
                geometry[size] = cost.cpu / cost.count
    print_table("One process, single steps", ["size", "step", "CPU ms", "per CPU second", "per wall second"], rows)
    print()
    rows = [
        clips(options, size, processes, geometry[size]) for size in options.sizes for processes in options.processes
    ]
    print_table(
        "Whole clips of 81 frames",
        ["size", "processes", "frames/CPU s", "frames/wall s/process", "clips/min", "cost / geometry only"],
        rows,
        notes=["targets on an idle core, colour included: 40 frames/s at 128, 15 at 256"],
    )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
