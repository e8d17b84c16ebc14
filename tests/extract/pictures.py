"""Small clips and shorthands for running an adapter on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from extract.adapter import Adapter, Batch, ClipInput, Tap, Variant
from extract.families import build_adapter
from extract.model import load_model


def clip(adapter: Adapter, clip_id: str = "clip", seed: int = 0, size: tuple[int, int] = (72, 96)) -> ClipInput:
    """A smooth picture that moves, as long as the adapter wants."""
    count = len(adapter.spec.frames.positions)
    small = np.random.default_rng(seed).integers(0, 255, (14, 18, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((size[1] + count, size[0] + count), Image.Resampling.BICUBIC))
    frames = np.stack([large[i : i + size[0], i : i + size[1]] for i in range(count)])
    return ClipInput(clip_id=clip_id, frames=frames, length=count)


def batch_of(adapter: Adapter, clips: Sequence[ClipInput]) -> Batch:
    """Preprocess some clips."""
    inputs = [adapter.preprocess(item) for item in clips]
    stacked = {name: torch.stack([each[name] for each in inputs]) for name in inputs[0]}
    return Batch(clip_ids=[item.clip_id for item in clips], inputs=stacked)


def run(adapter: Adapter, clips: Sequence[ClipInput]) -> Mapping[str, torch.Tensor]:
    """Preprocess some clips and run them as one batch."""
    return adapter.forward(batch_of(adapter, clips))


def taps(adapter: Adapter, blocks: Sequence[int], noise: str = "index:749") -> list[Tap]:
    """Taps after some blocks, at one noise level if the model has any."""
    name, offer = next(iter(adapter.spec.taps.items()))
    schedule = adapter.spec.schedule
    text = "t:0.25" if adapter.spec.family == "opensora" and noise == "index:749" else noise
    level = schedule.level(text) if offer.noisy and schedule is not None else None
    return [Tap(name=name, block=block, noise=level) for block in blocks]


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """A smooth picture."""
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def make(name: str, cache: str, **choices: Any) -> Adapter:
    """The adapter of a tiny twin, or of a control."""
    extra: dict[str, Any] = {} if load_model(name).kind == "control" else {"weights": "random", "size": "tiny"}
    return build_adapter(load_model(name), Variant(cache=cache, **extra, **choices))
