"""The adapter contract as executable checks: what every family must hold, run on its tiny twin."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cache.format.spec import torch_dtype
from configs.identity import plain
from extract.adapter import Adapter, Batch, Build, ClipInput, Tap, Variant
from extract.model import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

TOLERANCE = 2e-5
"""Largest difference, relative to the largest value, between a clip alone and in a batch."""


def check_contract(build: Build, model: ModelConfig, variant: Variant) -> None:
    """Check one family on one model.

    Args:
        build: the family's function.
        model: the model.
        variant: a tiny twin on CPU, in float32.

    Raises:
        AssertionError: the contract is broken; the message says which clause.
    """
    import torch

    adapter = build(model, variant)
    spec = adapter.spec
    name, offer = next(iter(spec.taps.items()))
    deep = [*range(1, offer.blocks + 1)] or [None]
    level = spec.schedule.level(model.noise[0]) if spec.schedule is not None else None
    taps = [Tap(name=name, block=block, noise=level if offer.noisy else None) for block in deep]

    assert len(spec.frames.row_of_slot) == 20, "every query slot has a row"
    assert plain(adapter.identity()) == plain(build(model, variant).identity()), "identity is JSON and repeatable"

    one, other = sample_clip(adapter, "one", 0), sample_clip(adapter, "other", 1)
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(adapter.preprocess, [one] * 4))
    for inputs in several[1:]:
        assert all(torch.equal(value, several[0][key]) for key, value in inputs.items()), "preprocess is thread-safe"
    assert all(value.device.type == "cpu" for value in several[0].values()), "preprocess works on the CPU"

    adapter.load(taps)
    full = run_clips(adapter, [one])
    assert set(full) == {tap.key for tap in taps}, "forward returns exactly the taps that were loaded"
    for key, features in full.items():
        assert features.shape == (1, spec.rows, *offer.grid, offer.channels), f"shape of {key}: {tuple(features.shape)}"
        assert features.dtype == torch_dtype(spec.compute_dtype), f"dtype of {key}: {features.dtype}"
        assert features.isfinite().all(), f"{key} is finite"
    for before, after in pairwise(taps):
        assert not torch.equal(full[before.key], full[after.key]), f"{before.key} and {after.key} differ"

    first = taps[0]
    adapter.load([first])
    alone = run_clips(adapter, [one])
    assert torch.equal(alone[first.key], full[first.key]), "a truncated forward gives the same bits as a full one"
    both = run_clips(adapter, [other, one])[first.key]
    scale = alone[first.key].abs().max()
    assert (both[1] - alone[first.key][0]).abs().max() <= TOLERANCE * scale, "a batch changes nothing that matters"
    assert (both[0] - both[1]).abs().max() > 100 * TOLERANCE * scale, "other clips have other features"

    again = build(model, variant)
    again.load([first])
    assert torch.equal(run_clips(again, [one])[first.key], full[first.key]), "a second instance gives the same bits"


def sample_clip(adapter: Adapter, clip_id: str, seed: int) -> ClipInput:
    """Return a smooth moving picture of 72x96 pixels, as many frames as the adapter wants, with flat ground truth."""
    count = len(adapter.spec.frames.positions)
    small = np.random.default_rng(seed).integers(0, 255, (14, 18, 3), dtype=np.uint8)
    large = np.asarray(Image.fromarray(small).resize((96 + count, 72 + count), Image.Resampling.BICUBIC))
    frames = np.stack([large[i : i + 72, i : i + 96] for i in range(count)])
    camera = np.array([[90, 0, 48], [0, 90, 36], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (count, 1, 1))
    poses[:, 0, 3] = np.arange(count) * 0.05 * (seed + 1)
    truth: dict[str, NDArray[Any]] = {
        "depth": np.full((count, 72, 96), 2.0 + seed, np.float32),
        "instance": np.tile((np.arange(96) // 32).astype(np.uint16), (count, 72, 1)),
        "intrinsics": np.tile(camera, (count, 1, 1)),
        "cam2world": poses,
        "class_of_instance": np.array([-1, 0, 4]),
    }
    return ClipInput(clip_id=clip_id, frames=frames, length=count, ground_truth=truth)


def run_clips(adapter: Adapter, clips: list[ClipInput]) -> Mapping[str, Tensor]:
    """Preprocess some clips and run them as one batch on the CPU."""
    import torch

    inputs = [adapter.preprocess(clip) for clip in clips]
    batch = {key: torch.stack([each[key] for each in inputs]) for key in inputs[0]}
    return adapter.forward(Batch(clip_ids=[clip.clip_id for clip in clips], inputs=batch))
