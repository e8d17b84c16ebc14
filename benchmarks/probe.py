"""Training steps per second and peak memory of the probes: `python -m benchmarks.probe [tasks=instance device=cpu]`.

Each task trains for a few steps twice, in a process of its own: as the project does it, and as a straightforward
implementation of the published recipe would. Both have the same network sizes, batch and views, and read the same
features from disk. The straightforward one

- reads the whole feature file of each clip, all rows of the native grid, and pools it to the probe's grid every time;
- recomputes every block in the backward pass (checkpointing), whatever the memory;
- tagging: one Linear per class in a loop;
- instance: enlarges all embeddings to the size of the masks before it draws pixels from the list of all valid ones;
- geometry: two dense heads, 1x1 convolutions behind the enlargements, position codes made anew in float64 in every
  pass, losses by boolean indexing, and the spatial gradient terms at weight 0.

Sizes: `reduced` shrinks the published networks for CPUs, `paper` is the published recipe (a GPU).
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.console import print_table
from configs.errors import SpatialprobeError
from configs.loader import parse_overrides, resolve
from configs.options import option
from probe.heads import refinement
from probe.heads.dpt import DptHead
from probe.heads.uv import GAIN, UvEmbedding, uv_tables
from probe.losses import asymmetric, camera, gradient, regression
from probe.losses.contrastive import instance_loss
from probe.losses.geometry import geometry_loss
from probe.losses.sampling import draw_pixels
from probe.models import build_probe
from probe.optim import build_optimizer
from probe.profiles import load_profile

ROWS, NATIVE = 20, 2
"""Rows per clip, and how much finer the native grid is than the probe's."""

REDUCED = {
    "tagging": {"trunk.width": "128", "trunk.heads": "4", "head.width": "128", "head.queries": "learned"},
    "instance": {"trunk.width": "128", "trunk.heads": "4", "loss.pixels": "512"},
    "geometry": {
        "trunk.width": "128", "trunk.heads": "4", "trunk.depth": "2", "camera.depth": "1", "camera.heads": "4",
        "dpt.features": "32", "dpt.stage_channels": "32,64,96,96", "dpt.hidden": "16",
    },
}  # fmt: skip


@dataclasses.dataclass
class Options:
    """What to measure."""

    tasks: list[str] = option(help="which tasks", factory=lambda: ["tagging", "instance", "geometry"])
    size: str = option("reduced", "network sizes and images", choices=["reduced", "paper"])
    device: str = option("cpu", "torch device")
    steps: int = option(3, "measured steps, after one to warm up", minimum=1)
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
    views: int
    fast_profile: Any


def setting(task: str, size: str) -> Setting:
    """Return the same network twice: as published, and with what the project changes at equal size."""
    words = {f"{task}.head.queries": "learned"} if task == "tagging" else {}
    if size == "reduced":
        words |= {f"{task}.{key}": value for key, value in REDUCED[task].items()}
    slow = getattr(load_profile("paper", words), task)
    changed = {**words, f"{task}.trunk.checkpointing": "auto", f"{task}.heads_fp32": "false"}
    if task != "geometry":
        changed |= {f"{task}.loss.form": "standard"}
    fast = getattr(load_profile("paper", changed), task)
    image = {"tagging": (210, 364), "instance": (540, 720), "geometry": (294, 518)}[task]
    if size == "reduced":
        image = {"tagging": (112, 196), "instance": (270, 360), "geometry": (112, 196)}[task]
    grid = (15, 26) if size == "paper" else (8, 14)
    return Setting(task, slow, grid, image, slow.recipe.views, fast)


def make_files(folder: Path, options: Options, chosen: Setting) -> None:
    """Write per clip the whole native map as one file, and the pooled rows as they lie in a store."""
    generator = np.random.default_rng(0)
    height, width = chosen.grid
    for clip in range(options.clips):
        native = generator.standard_normal((ROWS, NATIVE * height, NATIVE * width, options.channels), dtype=np.float32)
        torch.save(torch.from_numpy(native).half(), folder / f"{clip}.pt")
        pooled = native.reshape(ROWS, height, NATIVE, width, NATIVE, -1).mean(axis=(2, 4))
        pooled.astype(np.float16).tofile(folder / f"{clip}.rows")


def read_whole(folder: Path, clips: list[int], rows: list[int], chosen: Setting, channels: int) -> Tensor:
    """Load each clip's file, take the rows and pool them."""
    parts = []
    for clip in clips:
        features = torch.load(folder / f"{clip}.pt", weights_only=True)[rows].float().permute(0, 3, 1, 2)
        parts.append(F.adaptive_avg_pool2d(features, chosen.grid).permute(0, 2, 3, 1).half())
    return torch.stack(parts)


def read_rows(folder: Path, clips: list[int], rows: list[int], chosen: Setting, channels: int) -> Tensor:
    """Read the bytes of the rows and nothing else."""
    shape = (len(clips), len(rows), *chosen.grid, channels)
    out = np.empty(shape, np.float16)
    size = out[0, 0].nbytes
    for i, clip in enumerate(clips):
        with (folder / f"{clip}.rows").open("rb") as file:
            for j, row in enumerate(rows):
                file.seek(row * size)
                file.readinto(memoryview(out[i, j]).cast("B"))
    return torch.from_numpy(out)


# ---- the straightforward recipe


class PerClassHead(nn.Module):
    """The tagging head with one Linear per class, in a loop."""

    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head
        self.parts = nn.ModuleList(nn.Linear(head.classifier.in_features, 1) for _ in range(len(head.queries)))

    def forward(self, patches: Tensor) -> Tensor:
        memory = self.head.in_proj(patches)
        x = self.head.queries.to(memory.dtype).expand(len(patches), -1, -1)
        for layer in self.head.layers:
            x = layer(x, memory)
        return torch.cat([part(x[:, i]) for i, part in enumerate(self.parts)], dim=1)


def slow_instance_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor], chosen: Setting) -> Tensor:
    """Enlarge everything, then draw pixels among all valid ones."""
    embeddings = outputs["embeddings"]
    b, s, e = embeddings.shape[:3]
    full = F.interpolate(embeddings.flatten(0, 1).float(), chosen.image, mode="bilinear", align_corners=False)
    full = F.normalize(full, dim=1).unflatten(0, (b, s)).permute(0, 1, 3, 4, 2).reshape(b, -1, e)
    ids = targets["maps"].reshape(b, -1)
    pull = push = full.new_zeros(())
    n_pull = n_push = full.new_zeros(())
    for clip in range(b):
        valid = ids[clip].nonzero()[:, 0]
        picked = valid[torch.randperm(len(valid), device=valid.device)[: chosen.profile.loss.pixels]]
        vectors, names = full[clip, picked], ids[clip, picked]
        apart = torch.cdist(vectors, vectors)
        same = names[:, None] == names[None]
        own = torch.eye(len(names), dtype=torch.bool, device=names.device)
        pull, n_pull = pull + apart[same & ~own].sum(), n_pull + (same & ~own).sum()
        push, n_push = push + (1 - apart[~same]).clamp(min=0).sum(), n_push + (~same).sum()
    return pull / n_pull.clamp(min=1) + push / n_push.clamp(min=1)


def slow_geometry_loss(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    """Boolean indexing, and gradient terms that are multiplied by 0."""
    weight, mask = targets["confidence"], torch.ones_like(targets["confidence"])
    keep = mask > 0
    depth, points = outputs["depth"][..., None], outputs["points"]
    true_depth, true_points = targets["depth"][..., None], targets["points"]
    near, true_near = regression.normalised(points, mask), regression.normalised(true_points, mask)
    total = camera.camera_paper(outputs["pose_steps"], targets["pose"])
    for predicted, true in ((near, true_near), (depth, true_depth)):
        bad = ~torch.isfinite(predicted)
        if bool(bad.any()):
            predicted = predicted.masked_fill(bad, 0)
        error = torch.linalg.vector_norm(true - predicted, dim=-1)[keep].clamp(max=100)
        total = total + (weight[keep] * error).clamp(max=100).mean()
        total = total + 0.0 * gradient.gradient_term(predicted, true, weight, mask)
    return total


def slow_fusion(module: refinement.Fusion, level: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
    """Enlarge first, then the 1x1 convolution."""
    x = level if module.lateral is None or coarser is None else coarser + module.lateral(level)
    return module.out_conv(refinement.resize(module.refine(x), size))


def make_slow(probe: nn.Module, task: str) -> None:
    """Turn a probe of the profile `paper` into the straightforward one."""
    if task == "tagging":
        probe.head = PerClassHead(probe.head)
    if task == "geometry":
        for head in probe.modules():
            if isinstance(head, DptHead):
                for fusion in head.fusions:
                    fusion.forward = _bound(slow_fusion, fusion)
                for code in (*head.codes, head.output_code):
                    code.forward = _bound(_fresh_code, code)


def _bound(function: Callable[..., Tensor], module: nn.Module) -> Callable[..., Tensor]:
    return lambda *arguments: function(module, *arguments)


def _fresh_code(module: UvEmbedding, x: Tensor, aspect: float) -> Tensor:
    """Make the whole map of sinusoids, from float64, for this very call."""
    height, width = x.shape[-2:]
    columns, rows = uv_tables((height, width), aspect, module.channels, x.device)
    code = torch.cat([columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)])
    return x + GAIN * code.contiguous().to(x.dtype)


# ---- measuring


def targets_of(chosen: Setting, options: Options, fast: bool) -> dict[str, Tensor]:
    """Made-up targets of one batch, as each side's loader would hand them over."""
    generator = np.random.default_rng(1)
    b, v, (h, w) = options.batch, chosen.views, chosen.image
    if chosen.task == "tagging":
        return {"labels": torch.from_numpy((generator.random((b, 20)) < 0.3).astype(np.float32))}
    if chosen.task == "instance":
        maps = generator.integers(0, 12, (b, v, h // 30, w // 30)).repeat(30, axis=2).repeat(30, axis=3)
        if not fast:
            return {"maps": torch.from_numpy(maps.astype(np.int64))}
        drawn = [draw_pixels(clip, chosen.profile.loss.pixels, generator) for clip in maps]
        pixels, ids = (np.stack(parts) for parts in zip(*drawn, strict=True))
        return {"pixels": torch.from_numpy(pixels), "ids": torch.from_numpy(ids)}
    pose = torch.zeros(b, v, 9)
    pose[..., 6], pose[..., 7:] = 1, 1.0
    depth = torch.from_numpy(generator.random((b, v, h, w)).astype(np.float32)) + 0.5
    return {
        "depth": depth,
        "points": depth[..., None] * torch.ones(3),
        "confidence": depth + 1,
        "pose": pose,
    }


def measure(options: Options, task: str, fast: bool, answers: Any) -> None:
    """Train a few steps and answer with seconds per step, CPU seconds per step, peak bytes and the first loss."""
    torch.manual_seed(0)
    chosen = setting(task, options.size)
    device = torch.device(options.device)
    profile = chosen.fast_profile if fast else chosen.profile
    probe = build_probe(task, options.channels, chosen.grid, profile, num_classes=20, image_size=chosen.image)
    if not fast:
        make_slow(probe, task)
    probe.to(device).train()
    optimizer = build_optimizer(probe, profile.recipe)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder, options, chosen)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

        def step(number: int) -> float:
            generator = np.random.default_rng(number)
            clips = generator.integers(options.clips, size=options.batch).tolist()
            rows = sorted(generator.choice(ROWS, chosen.views, replace=False).tolist())
            read = read_rows if fast else read_whole
            features = read(folder, clips, rows, chosen, options.channels).to(device)
            targets = {key: value.to(device) for key, value in targets_of(chosen, options, fast).items()}
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                outputs = probe(features, chosen.image)
                if task == "tagging":
                    loss = asymmetric.tagging_loss(outputs, targets, profile.loss)["loss"]
                elif task == "instance" and fast:
                    loss = instance_loss(outputs, targets, chosen.image, profile.loss)["loss"]
                elif task == "instance":
                    loss = slow_instance_loss(outputs, targets, chosen)
                elif fast:
                    loss = geometry_loss(outputs, targets, profile.loss)["loss"]
                else:
                    loss = slow_geometry_loss(outputs, targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            return float(loss.detach())

        step(0)
        cpu, wall = time.process_time(), time.perf_counter()
        losses = [step(number + 1) for number in range(options.steps)]
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    answers.put((wall / options.steps, cpu / options.steps, peak, losses[0]))


def main(words: list[str]) -> int:
    try:
        options = resolve(Options, [], parse_overrides(words))
    except SpatialprobeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    context = multiprocessing.get_context("spawn")
    rows = []
    for task in options.tasks:
        found = {}
        for fast in (False, True):
            answers = context.SimpleQueue()
            process = context.Process(target=measure, args=(options, task, fast, answers))
            process.start()
            process.join()
            if process.exitcode:
                return 1
            found[fast] = answers.get()
        slow, quick = found[False], found[True]
        on_cpu = options.device == "cpu"
        rows.append(
            [
                task,
                1 / slow[0],
                1 / quick[0],
                slow[0] / quick[0],
                slow[1] / quick[1] if on_cpu else None,
                slow[2] / 2**20,
                quick[2] / 2**20,
            ]
        )
    columns = ["task", "steps/s plain", "steps/s ours", "faster", "less CPU time", "peak MiB plain", "peak MiB ours"]
    print_table(
        f"probe training, {options.size} size, {options.device}, batch {options.batch}",
        columns,
        rows,
        notes=["targets: 2x tagging, 5x instance, 1.5x geometry; peak memory is above that of the idle process"],
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
