"""Video models at full size, without memory: windows, tokens, grids, widths."""

from __future__ import annotations

import pytest
import torch

from extract.adapter import Batch, Tap, Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video.base import VideoAdapter

FULL_SIZE = {
    "wan-t2v-1.3b": (20, 30, 52, 1536),
    "wan-t2v-14b": (20, 30, 52, 5120),
    "wan-i2v-14b": (20, 30, 52, 5120),
    "cogvideox-t2v-2b": (11, 30, 45, 1920),
    "cogvideox-t2v-5b": (11, 30, 45, 3072),
    "cogvideox-i2v-5b": (11, 30, 45, 3072),
    "aether": (11, 30, 45, 3072),
    "opensora": (20, 30, 53, 3072),
}
"""Rows kept, grid and width of every model (published protocol)."""


@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size_geometry(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real network at the real resolution, without memory: windows, tokens, grid, width."""
    model = load_model(name)
    adapter = build_adapter(model, Variant(weights="random", device="meta", dtype="bfloat16"))
    assert isinstance(adapter, VideoAdapter)
    height, width = adapter.spec.input_size
    latent = (adapter.spec.frames.tokens, height // 8, width // 8)
    monkeypatch.setattr(adapter.network, "encode", lambda video, draws: video.new_empty(1, channels(adapter), *latent))
    assert adapter.spec.schedule
    level = adapter.spec.schedule.level(model.noise[0])
    assert set(model.paper_blocks.values()) <= set(range(1, adapter.spec.taps["dit"].blocks + 1))
    adapter.load([Tap(name="dit", block=1, noise=level)])
    pixels = torch.empty(1, len(adapter.spec.frames.positions), height, width, 3, dtype=torch.uint8, device="meta")
    inputs = {"pixels": pixels}
    if name == "wan-i2v-14b":
        inputs |= {"condition": pixels[:, 0], "clip": torch.empty(1, 3, 224, 224, device="meta")}
    (found,) = adapter.forward(Batch(clip_ids=["clip"], inputs=inputs)).values()
    assert tuple(found.shape) == (1, *FULL_SIZE[name])
    assert found.dtype == torch.bfloat16
    assert [*found.shape[2:4]] == model.grid
    assert found.shape[4] == model.width


def channels(adapter: VideoAdapter) -> int:
    """Channels of the clean latents: Aether generates disparity and rays beside the picture."""
    return 56 if adapter.spec.name == "aether" else adapter.spec.taps["vae"].channels


@pytest.mark.parametrize("name", ["wan-t2v-1.3b", "cogvideox-t2v-2b", "opensora"])
def test_full_size_latents(name: str) -> None:
    adapter = build_adapter(load_model(name), Variant(weights="random", device="meta"))
    adapter.load([Tap(name="vae")])
    height, width = adapter.spec.input_size
    pixels = torch.empty(1, len(adapter.spec.frames.positions), height, width, 3, dtype=torch.uint8, device="meta")
    latents = adapter.forward(Batch(clip_ids=["clip"], inputs={"pixels": pixels}))["vae"]
    assert tuple(latents.shape) == (1, adapter.spec.rows, height // 8, width // 8, 16)
