"""What truncation and one pass for all blocks save, and whether anything waits: `python -m benchmarks.extract`.

    python -m benchmarks.extract                                          # tiny twins of all families, on CPU
    python -m benchmarks.extract model=wan,qwen3-vl clips=4              # fewer
    python -m benchmarks.extract model=wan size=full device=cuda         # random weights at full size

Rounds are interleaved and their ratios paired, on CPU in CPU seconds, so that a busy machine disturbs both sides alike.
Ratios travel between machines; seconds don't. Several copies of a network are in memory at once.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import queue
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import command
from configs.console import Progress, print_table
from configs.options import option

DEFAULT = ["wan", "cogvideox", "aether", "opensora", "qwen3-vl", "qwen2.5-vl", "internvl3"]
TARGET = 0.9
SAMPLE_SECONDS = 0.02
PICTURE = 256
"""Pixels along both sides of the pictures whose reading is measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What to measure."""

    model: list[str] = option(help="models or families", factory=lambda: list(DEFAULT))
    size: str = option("tiny", "tiny or full", choices=["tiny", "full"])
    device: str = option("cpu", "torch device")
    rounds: int = option(5, "interleaved rounds; the median of their ratios counts", minimum=1)
    clips: int = option(4, "clips of the job in which waiting is measured; 0 leaves it out", minimum=0, maximum=500)


# ---- truncation and shared passes


class Pass:
    """One adapter with some taps loaded, ready to run one clip."""

    def __init__(self, name: str, blocks: list[int], options: Options, cache: str) -> None:
        from extract.adapter import Tap, Variant
        from extract.families import build_adapter
        from extract.model import load_model
        from tests.extract.contract import sample_clip

        model = load_model(name)
        variant = Variant(weights="random", size=options.size, device=options.device, cache=cache, cache_latents=True)
        self.adapter = build_adapter(model, variant)
        self.device = options.device
        schedule = self.adapter.spec.schedule
        level = schedule.level(model.noise[0]) if schedule is not None else None
        tap = next(iter(self.adapter.spec.taps))
        self.adapter.load([Tap(name=tap, block=block, noise=level) for block in blocks])
        self.clip = sample_clip(self.adapter, "clip", 0)
        self.bytes = weight_bytes(self.adapter)

    def cost(self) -> float:
        """Run the clip; CPU seconds of this process on CPU, else seconds."""
        import torch

        from extract.adapter import Batch

        inputs = {k: v[None].to(self.device) for k, v in self.adapter.preprocess(self.clip).items()}
        cuda = self.device.startswith("cuda")
        if cuda:
            torch.cuda.synchronize()
        clock = time.perf_counter if cuda else time.process_time
        started = clock()
        self.adapter.forward(Batch(clip_ids=[self.clip.clip_id], inputs=inputs))
        if cuda:
            torch.cuda.synchronize()
        return clock() - started


def weight_bytes(adapter: Any) -> int:
    """Add up the loaded parameters of an adapter."""
    return sum(p.numel() * p.element_size() for module in adapter.modules() for p in module.parameters())


def savings(name: str, options: Options, cache: str) -> list[object]:
    """Compare the truncated with the full forward, and one pass for k blocks with k passes."""
    from extract.adapter import Variant
    from extract.families import build_adapter
    from extract.job.request import chosen_blocks
    from extract.model import load_model

    model = load_model(name)
    spec = build_adapter(model, Variant(weights="random", size=options.size, cache=cache)).spec
    total = next(iter(spec.taps.values())).blocks
    paper = chosen_blocks(["paper"], model, total)
    several = sorted({max(1, total // 4), total // 2, *paper})
    truncated, full = (Pass(name, [block], options, cache) for block in (max(paper), total))
    together = Pass(name, several, options, cache)
    apart = [Pass(name, [block], options, cache) for block in several]
    shares, shared = [], []
    for number in range(options.rounds + 1):
        few, all_blocks, once = truncated.cost(), full.cost(), together.cost()
        separately = sum(each.cost() for each in apart)
        if number:  # the first round encodes the clip, whose latents are kept, and warms up
            shares.append(few / all_blocks)
            shared.append(once / separately)
    return [
        model.name, f"{max(paper)} of {total}", median(shares), truncated.bytes / full.bytes, len(several),
        median(shared), f"{min(shared):.2f}-{max(shared):.2f}",
    ]  # fmt: skip


# ---- reading


def reading(root: Path, rounds: int) -> list[object]:
    """Compare reading the frames of a clip, which compares each with its digest, with decoding the same files only."""
    import numpy as np

    from data.dataset.layout import clip_folder, frame_name
    from data.dataset.reader import PreparedDataset
    from data.raw.images import decode_jpeg

    dataset = PreparedDataset(root / "datasets" / "pictures")
    (clip_id,) = dataset.clips["clip_id"]
    positions = dataset.positions(clip_id).tolist()
    files = [clip_folder(dataset.path, clip_id) / frame_name(position) for position in positions]
    ratios, per_frame = [], []
    for _ in range(rounds + 1):
        started = time.process_time()
        only = np.stack([decode_jpeg(path.read_bytes()) for path in files])
        decoded = time.process_time()
        compared = dataset.frames(clip_id, positions)
        ended = time.process_time()
        assert np.array_equal(only, compared)
        ratios.append((ended - decoded) / (decoded - started))
        per_frame.append((decoded - started) / len(files) * 1e3)
    size = sum(path.stat().st_size for path in files) / len(files) / 1e3
    height, width = dataset.frame_size(clip_id)
    return [
        f"{width}x{height}",
        size,
        median(per_frame[1:]),
        median(ratios[1:]),
        f"{min(ratios):.2f}-{max(ratios):.2f}",
    ]


# ---- waiting


def jobs(options: Options, root: str, answers: Any) -> None:
    """Extract a small dataset with each model in this process, on one core; answers what happened between clips."""
    import torch

    from configs.machine import visible_devices

    if options.device == "cpu" and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        torch.set_num_threads(1)
    device = visible_devices(options.device)[0]
    for name in options.model:
        answers.put(("row", job(name, device, options, root, answers)))
    answers.put(("end", None))


def job(name: str, device: str, options: Options, root: str, answers: Any) -> list[object]:
    """Run one extraction; answers "watch" after its first clip and "rest" after its last."""
    from extract.job.config import RunConfig
    from extract.job.request import resolve_request
    from extract.job.runner import Runner, rates

    request = resolve_request(RunConfig(model=name, weights="random", size=options.size, root=root), device)
    marks: list[tuple[float, float]] = []

    class Marks(Progress):
        def advance(self, count: int = 1) -> None:
            if not marks:
                answers.put(("watch", None))
            marks.append((time.perf_counter(), time.process_time()))

    runner = Runner(request, request.store({}), readers=2)
    runner.run(Marks(None, name, "clips"))
    records = runner.records
    answers.put(("rest", None))
    if failed := [record.reason for record in records if record.status != "done"]:
        raise SystemExit(f"{name}: {failed[0]}")
    (begin, begin_cpu), (end, end_cpu) = marks[0], marks[-1]
    busy = sum(record.device_seconds for record in records[1:]) / (end - begin)
    rate = rates(records[1:], end - begin).partition(",")[0]
    return [name, (end_cpu - begin_cpu) / (end - begin), None, busy, rate]


def waiting(options: Options, root: str) -> list[list[object]]:
    """Run the jobs in a process of their own and look from outside whether it ever has nothing to do."""
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    process = context.Process(target=jobs, args=(options, root, answers))
    process.start()
    rows: list[list[object]] = []
    samples: list[bool] = []
    watching = False
    while True:
        try:
            word, row = answers.get(timeout=SAMPLE_SECONDS)
        except queue.Empty:
            if not process.is_alive():
                raise SystemExit("the job has died") from None
            if watching and process.pid:
                samples.append(runnable(process.pid))
            continue
        if word == "end":
            process.join()
            return rows
        watching = word == "watch"
        if word == "row":
            row[2] = sum(samples) / len(samples) if samples else None
            rows.append(row)
            samples = []


def runnable(pid: int) -> bool:
    """Whether any thread of a process runs or waits for nothing but a core (Linux)."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "R":
                return True
        except OSError:
            continue
    return False


def make_dataset(root: Path, name: str, clips: int, side: int) -> None:
    """Prepare a few rooms seen in square pictures."""
    from data.prepare.prepare import prepare
    from data.rooms.config import RoomsConfig
    from data.rooms.source import RoomsSource

    source = RoomsSource(RoomsConfig(clips=clips, height=side, width=side))
    prepare(source, root / "datasets" / name, plans=(), workers=min(2, os.cpu_count() or 1))


def main(options: Options) -> int:
    """Measure and print."""
    import torch

    torch.set_num_threads(1)
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    with tempfile.TemporaryDirectory() as folder:
        rows = [savings(name, options, str(Path(folder) / "extract-cache")) for name in options.model]
        unit = "CPU seconds" if options.device == "cpu" else "seconds"
        print_table(
            f"One clip, latents kept, {options.size} size, {options.device}, ratios of {unit}",
            ["model", "read", "truncated/full", "bytes truncated/full", "k", "one pass/k passes", "range"],
            rows,
            notes=["Aether loads and runs all blocks whatever is read, see docs/extraction.md"],
        )
        print()
        make_dataset(Path(folder), "pictures", 1, PICTURE)
        print_table(
            "Reading the frames of a clip, each compared with its SHA-256, and only decoding them",
            ["picture", "kB", "ms to decode", "compared/decoded", "range"],
            [reading(Path(folder), options.rounds)],
            notes=["ratios of CPU seconds"],
        )
        if options.clips:
            print()
            make_dataset(Path(folder), "rooms", options.clips + 1, 64)  # before the first clip a job loads
            rows = waiting(options, folder)
            print_table(
                f"A job of {options.clips} clips" + (", on one core" if options.device == "cpu" else ""),
                ["model", "stage CPU s / (cores x wall)", "has work", "device busy", "rate"],
                rows,
                notes=[
                    f"target: at least {TARGET} on an idle core. On a shared one the first ratio counts what others"
                    " take;",
                    "'has work' doesn't: the share of the time in which a thread runs or waits only for a core",
                ],
            )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
