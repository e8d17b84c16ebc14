"""Training steps per second and peak memory of the probes: `python -m benchmarks.probe [task=instance device=cpu]`.

Each task trains for a few steps twice, in two processes that take turns step by step, so that a machine that slows
down slows both: as the project does it, and as a straightforward implementation of the published recipe would
(`benchmarks.plain`). Both have the same network sizes, batch and queries, start from the same weights and read files
that hold the same clips. The straightforward one

- reads the whole feature file of each clip, all rows of the native grid, and pools it to the probe's grid every time;
- geometry: reads a whole file of depth, point maps and confidences of 150 frames per clip for the few of its queries,
  where the project reads the queries' depth and confidence and makes the points;
- instance: moves whole maps of ids, where the project draws pixels as it reads.

Sizes: `reduced` shrinks the published networks for CPUs, `paper` is the published recipe (a GPU).

A second table shows what checksums cost: an epoch of tagging, the lightest task, over a store whose rows this process
reads for the first time and compares, next to one over a store whose rows it has read before.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import resource
import sys
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from benchmarks import command
from benchmarks.plain import make_plain, plain_geometry_loss, plain_instance_loss, plain_optimizer
from cache import FeatureLoader, FeatureStore
from configs.console import print_table
from configs.loader import resolve
from configs.machine import keep_freed_memory
from configs.options import option
from data.dataset.targets import geometry_targets, sample_pixels
from probe.module import Facts, load_module
from probe.task import load_task
from probe.tasks.geometry.loss import geometry_loss
from probe.tasks.instance.loss import instance_loss
from probe.tasks.tagging.loss import tagging_loss
from probe.train.optim import build_optimizer
from tests.stores import make_spec, make_store

ROWS, NATIVE = 20, 2
"""Rows per clip, and how much finer the native grid is than the probe's."""
EPOCHS = 6
"""Pairs of epochs with and without checking."""
FRAMES = 150
"""Frames of a clip in its file of geometry."""

REDUCED = {
    "tagging": {"trunk.width": "128", "trunk.heads": "4", "head.width": "128", "head.class_queries": "learned"},
    "instance": {"trunk.width": "128", "trunk.heads": "4", "loss.pixels": "512"},
    "geometry": {
        "trunk.width": "128", "trunk.heads": "4", "trunk.depth": "2", "camera.depth": "1", "camera.heads": "4",
        "dpt.features": "32", "dpt.stage_channels": "32,64,96,96", "dpt.hidden": "16",
    },
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    task: list[str] = option(help="which tasks", factory=lambda: ["tagging", "instance", "geometry"])
    size: str = option("reduced", "network sizes and images", choices=["reduced", "paper"])
    device: str = option("cpu", "torch device")
    steps: int = option(10, "measured steps, after one to warm up; medians count", minimum=1)
    batch: int = option(2, "clips per step", minimum=1)
    clips: int = option(4, "clips on disk", minimum=1)
    channels: int = option(1536, "width of the features", minimum=1)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes of one task."""

    task: str
    profile: Any
    grid: tuple[int, int]
    image: tuple[int, int]
    queries: int
    fast_profile: Any


def setting(task: str, size: str) -> Setting:
    """Return the same network twice: as published, and with what the project changes at equal size."""
    words = {"head.class_queries": "learned"} if task == "tagging" else {}
    if size == "reduced":
        words |= REDUCED[task]
    declared = load_task(task)
    slow = resolve(declared.options, [declared.values("paper")], words)
    changed = {**words, "trunk.checkpointing": "auto", "heads_fp32": "false"}
    if task != "geometry":
        changed |= {"loss.form": "standard"}
    fast = resolve(declared.options, [declared.values("paper")], changed)
    image = {"tagging": (210, 364), "instance": (540, 720), "geometry": (294, 518)}[task]
    if size == "reduced":
        image = {"tagging": (112, 196), "instance": (270, 360), "geometry": (112, 196)}[task]
    grid = (15, 26) if size == "paper" else (8, 14)
    return Setting(task, slow, grid, image, slow.recipe.queries, fast)


def make_files(folder: Path, options: Options, chosen: Setting) -> None:
    """Write every clip twice: whole, as features of the native grid and as geometry, and by rows as in a store."""
    generator = np.random.default_rng(0)
    height, width = chosen.grid
    for clip in range(options.clips):
        native = generator.standard_normal((ROWS, NATIVE * height, NATIVE * width, options.channels), dtype=np.float32)
        torch.save(torch.from_numpy(native).half(), folder / f"{clip}.pt")
        pooled = native.reshape(ROWS, height, NATIVE, width, NATIVE, -1).mean(axis=(2, 4))
        pooled.astype(np.float16).tofile(folder / f"{clip}.rows")
        if chosen.task == "geometry":
            depth = generator.random((FRAMES, *chosen.image), dtype=np.float32) + 0.5
            confidence = generator.random((FRAMES, *chosen.image), dtype=np.float32) + 1
            whole = {"depth": torch.from_numpy(depth), "confidence": torch.from_numpy(confidence)}
            whole["points"] = whole["depth"][..., None] * torch.ones(3)
            torch.save(whole, folder / f"{clip}.truth.pt")
            depth.tofile(folder / f"{clip}.depth")
            confidence.tofile(folder / f"{clip}.confidence")


def read_whole(folder: Path, clips: list[int], rows: list[int], chosen: Setting, channels: int) -> Tensor:
    """Load each clip's file, take the rows and pool them."""
    parts = []
    for clip in clips:
        features = torch.load(folder / f"{clip}.pt", weights_only=True)[rows].float().permute(0, 3, 1, 2)
        parts.append(F.adaptive_avg_pool2d(features, chosen.grid).permute(0, 2, 3, 1).half())
    return torch.stack(parts)


def read_rows(folder: Path, clips: list[int], rows: list[int], chosen: Setting, channels: int) -> Tensor:
    """Read the bytes of the rows and nothing else."""
    shape = (*chosen.grid, channels)
    return torch.from_numpy(np.stack([_rows(folder / f"{clip}.rows", rows, shape, np.float16) for clip in clips]))


def _rows(path: Path, rows: list[int], shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any]:
    out = np.empty((len(rows), *shape), dtype)
    with path.open("rb") as file:
        for i, row in enumerate(rows):
            file.seek(row * out[0].nbytes)
            file.readinto(memoryview(out[i]).cast("B"))
    return out


# ---- targets


def targets_of(folder: Path, clips: list[int], rows: list[int], chosen: Setting, fast: bool) -> dict[str, Tensor]:
    """Return the targets of one batch, as each side's loader hands them over; made up, or read for geometry."""
    b, v, (h, w) = len(clips), chosen.queries, chosen.image
    if chosen.task == "tagging":
        return {"labels": (torch.arange(20) % 3 == 0).float().expand(b, -1)}
    if chosen.task == "instance":
        blocks = np.arange(v * (h // 30) * (w // 30), dtype=np.uint16).reshape(v, h // 30, w // 30) % 12
        maps = blocks.repeat(30, axis=1).repeat(30, axis=2)
        if not fast:
            return {"maps": torch.from_numpy(np.stack([maps.astype(np.int64) for _ in clips]))}
        drawn = [sample_pixels(maps, chosen.profile.loss.pixels, np.random.default_rng(clip)) for clip in clips]
        parts = {"pixels": [one.coordinates for one in drawn], "ids": [one.ids for one in drawn]}
        return {name: torch.from_numpy(np.stack(part)) for name, part in parts.items()}
    frames = [row * (FRAMES // ROWS) for row in rows]
    read = _geometry_rows if fast else _geometry_whole
    read_clips = [read(folder, clip, frames, chosen) for clip in clips]
    targets = {name: torch.stack([one[name] for one in read_clips]) for name in read_clips[0]}
    pose = torch.zeros(b, v, 9)
    pose[..., 6], pose[..., 7:] = 1, 1.0
    return {**targets, "pose": pose}


def _geometry_whole(folder: Path, clip: int, frames: list[int], chosen: Setting) -> dict[str, Tensor]:
    whole = torch.load(folder / f"{clip}.truth.pt", weights_only=True)
    taken = {name: values[frames] for name, values in whole.items()}
    scale = torch.linalg.vector_norm(taken["points"][0], dim=-1).mean()
    return {**taken, "points": taken["points"] / scale, "depth": taken["depth"] / scale}


def _geometry_rows(folder: Path, clip: int, frames: list[int], chosen: Setting) -> dict[str, Tensor]:
    depth, confidence = (
        _rows(folder / f"{clip}.{name}", frames, chosen.image, np.float32) for name in ("depth", "confidence")
    )
    height, width = chosen.image
    intrinsics = np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1]], np.float32)
    poses, valid = np.eye(4, dtype=np.float32)[None].repeat(len(frames), 0), np.ones(len(frames), bool)
    found = geometry_targets(depth, intrinsics[None].repeat(len(frames), 0), poses, valid, confidence)
    return {name: torch.from_numpy(getattr(found, name)) for name in ("depth", "points", "confidence")}


# ---- measuring


def network(task: str, channels: int, chosen: Setting, profile: Any) -> torch.nn.Module:
    """Return the probe's network for 20 classes."""
    facts = Facts(channels, chosen.grid, chosen.image, class_names=tuple(map(str, range(20))))
    return load_module(task)(profile, facts, 1).probe


def measure(options: Options, task: str, fast: bool, parent: Connection) -> None:
    """Train one step per number received and answer with seconds and CPU seconds; None ends it: the peak in bytes."""
    torch.manual_seed(0)
    chosen = setting(task, options.size)
    device = torch.device(options.device)
    if fast and device.type == "cpu":
        keep_freed_memory()  # as `probe.train.loop` does
    profile = chosen.fast_profile if fast else chosen.profile
    probe = network(task, options.channels, chosen, profile)
    if not fast:
        make_plain(probe)
    probe.to(device).train()
    optimizer = (build_optimizer if fast else plain_optimizer)(probe, profile.recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, options, chosen)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

        def step(number: int) -> None:
            generator = np.random.default_rng(number)
            clips = generator.integers(options.clips, size=options.batch).tolist()
            rows = sorted(generator.choice(ROWS, chosen.queries, replace=False).tolist())
            read = read_rows if fast else read_whole
            features = read(folder, clips, rows, chosen, options.channels).to(device)
            targets = {key: value.to(device) for key, value in targets_of(folder, clips, rows, chosen, fast).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                outputs = probe(features, chosen.image)
                if task == "tagging":
                    loss = tagging_loss(outputs, targets, profile.loss)["loss"]
                elif task == "instance" and fast:
                    loss = instance_loss(outputs, targets, chosen.image, profile.loss)["loss"]
                elif task == "instance":
                    loss = plain_instance_loss(outputs, targets, chosen.image, profile.loss)
                elif fast:
                    loss = geometry_loss(outputs, targets, profile.loss)["loss"]
                else:
                    loss = plain_geometry_loss(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            float(loss.detach())  # waits for the device

        step(0)
        while (number := parent.recv()) is not None:
            cpu, wall = time.process_time(), time.perf_counter()
            step(number)
            parent.send((time.perf_counter() - wall, time.process_time() - cpu))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    parent.send(peak)


@dataclasses.dataclass(frozen=True)
class Measured:
    """Both sides of one task: (steps, 2) seconds and CPU seconds, plain and ours, and their peaks in bytes."""

    plain: NDArray[np.float64]
    ours: NDArray[np.float64]
    peaks: tuple[int, int]

    def row(self, task: str, cpu: bool) -> list[Any]:
        """Return a row of the table: medians over steps, and medians of the ratios of paired steps."""
        ratios = np.median(self.plain / self.ours, axis=0)
        speeds = [float(1 / np.median(side[:, 0])) for side in (self.plain, self.ours)]
        peaks = [peak / 2**20 for peak in self.peaks]
        return [task, *speeds, float(ratios[0]), float(ratios[1]) if cpu else None, *peaks]


def compare(options: Options, task: str) -> Measured:
    """Let both sides of a task take turns.

    Raises:
        EOFError, ConnectionError: one of the processes died; it has printed why.
    """
    context = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        sides = []
        for fast in (False, True):
            ours, theirs = context.Pipe()
            process = context.Process(target=measure, args=(options, task, fast, theirs), daemon=True)
            process.start()
            theirs.close()
            stack.callback(process.join)
            sides.append(stack.enter_context(ours))
        taken: list[list[tuple[float, float]]] = [[], []]
        for number in range(1, options.steps + 1):
            for side, times in zip(sides, taken, strict=True):
                side.send(number)
                times.append(side.recv())
        peaks = []
        for side in sides:
            side.send(None)
            peaks.append(side.recv())
    return Measured(np.array(taken[0]), np.array(taken[1]), (peaks[0], peaks[1]))


def price_of_checking(options: Options) -> list[Any]:
    """Return a row of the table: steps and bytes of an epoch, and the speed of a first one relative to later ones."""
    torch.manual_seed(0)
    chosen = setting("tagging", options.size)
    device = torch.device(options.device)
    spec = make_spec("features", rows=ROWS, grid=chosen.grid, channels=options.channels)
    probe = network("tagging", options.channels, chosen, chosen.fast_profile).to(device).train()
    optimizer = build_optimizer(probe, chosen.fast_profile.recipe)
    labels = targets_of(Path(), [0] * options.batch, [], chosen, fast=True)["labels"].to(device)
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "store"
        store = make_store(place, [spec], options.steps * options.batch)
        rows = sorted(np.random.default_rng(0).choice(ROWS, chosen.queries, replace=False).tolist())
        samples = [(clip_id, spec.name, rows) for clip_id in store.clips]

        def epoch(source: FeatureStore) -> float:
            started = clock()
            for batch in FeatureLoader(source, samples, options.batch, shuffle=False):
                features = batch["features"].to(device)
                with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                    outputs = probe(features if device.type == "cuda" else features.float(), chosen.image)
                    loss = tagging_loss(outputs, {"labels": labels}, chosen.fast_profile.loss)["loss"]
                optimizer.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimizer.step()
                float(loss.detach())  # waits for the device
            return clock() - started

        known = FeatureStore.open(place)
        epoch(known)
        ratios = []
        for number in range(EPOCHS):
            sources = [FeatureStore.open(place), known]
            order = (0, 1) if number % 2 else (1, 0)
            taken = {turn: epoch(sources[turn]) for turn in order}
            ratios.append(taken[1] / taken[0])
    read = len(samples) * len(rows) * spec.row_bytes / 2**20
    return ["tagging", options.steps, read, float(np.median(ratios)), f"{min(ratios):.3f}-{max(ratios):.3f}"]


def main(options: Options) -> int:
    """Measure and print."""
    rows = []
    for task in options.task:
        try:
            rows.append(compare(options, task).row(task, options.device == "cpu"))
        except (EOFError, ConnectionError):
            return 1
    columns = ["task", "steps/s plain", "steps/s ours", "faster", "less CPU time", "peak MiB plain", "peak MiB ours"]
    print_table(
        f"probe training, {options.size} size, {options.device}, batch {options.batch}",
        columns,
        rows,
        notes=["targets: 2x tagging, 5x instance, 1.5x geometry; peak memory is above that of the idle process"],
    )
    print()
    print_table(
        "an epoch in which every row is read for the first time and compared with its checksum",
        ["task", "steps", "MiB read", "speed relative to later epochs", "range"],
        [price_of_checking(options)],
        notes=[
            f"target: at least 0.97; ratios of {'CPU seconds' if options.device == 'cpu' else 'seconds'} of {EPOCHS} "
            "pairs of epochs"
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
