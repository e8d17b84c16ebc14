"""Extraction: truncated against full forward (time, loaded bytes), and one pass for k blocks against k passes.

    python benchmarks/bench_extract.py                        # tiny twins of all families, on CPU
    python benchmarks/bench_extract.py models=wan-t2v-1.3b size=full device=cuda   # random weights at full size

Prints one line per model. Ratios travel between machines; seconds don't.
"""

from __future__ import annotations

import dataclasses
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from configs.loader import parse_overrides, resolve
from configs.options import option

DEFAULT = ["wan-t2v-1.3b", "cogvideox-t2v-2b", "aether", "opensora", "qwen3-vl-2b", "internvl3-1b"]


@dataclasses.dataclass(kw_only=True)
class BenchConfig:
    models: list[str] = option(help="models to measure", factory=lambda: list(DEFAULT))
    size: str = option("tiny", "tiny or full", choices=["tiny", "full"])
    device: str = option("cpu", "torch device")
    rounds: int = option(3, "repetitions; the median counts", minimum=1)


def main(words: list[str]) -> None:
    config = resolve(BenchConfig, [], parse_overrides(words))
    print("model               truncated/full time   loaded bytes   k blocks: one pass/k passes   blocks")
    with tempfile.TemporaryDirectory() as cache:
        for name in config.models:
            measure(name, config, cache)


def measure(name: str, config: BenchConfig, cache: str) -> None:
    from extract.adapter import Tap, Variant
    from extract.backbones import build_adapter
    from extract.contract import run_clips, sample_clip
    from extract.model import load_model
    from extract.request import chosen_blocks

    model = load_model(name)
    variant = Variant(weights="random", size=config.size, device=config.device, cache=cache, cache_latents=True)
    adapter = build_adapter(model, variant)
    spec = adapter.spec
    tap, offer = next(iter(spec.taps.items()))
    level = spec.schedule.level(model.noise[0]) if spec.schedule is not None else None
    clip = sample_clip(adapter, "clip", 0)

    def seconds(blocks: list[int]) -> tuple[float, int]:
        adapter.load([Tap(name=tap, block=block, noise=level) for block in blocks])
        run_clips(adapter, [clip])  # latents are kept from here on
        times = []
        for _ in range(config.rounds):
            started = time.perf_counter()
            run_clips(adapter, [clip])
            synchronise(config.device)
            times.append(time.perf_counter() - started)
        return median(times), weights(adapter)

    paper = chosen_blocks(["paper"], model, offer.blocks)
    several = sorted({1, *paper, max(1, offer.blocks // 4)})[: len(paper) + 2]
    truncated, few = seconds([max(paper)])
    full, all_bytes = seconds([offer.blocks])
    together, _ = seconds(several)
    apart = sum(seconds([block])[0] for block in several)
    print(
        f"{name:20s}{truncated / full:10.2f} ({truncated:.2f} s){few / all_bytes:14.2f}"
        f"{together / apart:20.2f} ({len(several)} blocks){max(paper):12d} of {offer.blocks}",
        flush=True,
    )


def weights(adapter: Any) -> int:
    from torch import nn

    found: dict[int, Any] = {}
    for owner in (adapter, getattr(adapter, "_network", None)):
        if owner is not None and not isinstance(owner, nn.Module):
            found |= {id(value): value for value in vars(owner).values() if isinstance(value, nn.Module)}
    network = getattr(adapter, "_network", None)
    if isinstance(network, nn.Module):
        found[id(network)] = network
    return sum(p.numel() * p.element_size() for module in found.values() for p in module.parameters())


def synchronise(device: str) -> None:
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))
    main(sys.argv[1:])
