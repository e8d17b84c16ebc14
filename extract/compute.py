"""Arithmetic of one clip, counted on networks without memory: what a job costs before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from extract.adapter import Adapter
    from extract.video.base import VideoAdapter
    from extract.vlm.base import VisionLanguageAdapter

PATCHES_PER_TOKEN = 4
"""All these language models merge 2 x 2 patches into one visual token."""


def clip_flops(adapter: Adapter) -> int | None:
    """Count the floating-point operations (a multiplication and an addition are two) of one clip's forward.

    Args:
        adapter: built on the device "meta" with random weights at full size, and loaded: what is counted is what its
            taps make it run, VAE and vision tower included.

    Returns:
        Matrix products, convolutions and attention; None for sources that are no model. Vision-language models are
        counted by two per weight and token, plus the decoder's attention; that of the vision tower (a few per cent) is
        left out.
    """
    from extract.video.base import VideoAdapter
    from extract.vlm.base import VisionLanguageAdapter

    if isinstance(adapter, VideoAdapter):
        return _video(adapter)
    if isinstance(adapter, VisionLanguageAdapter):
        return _language(adapter)
    return None


def _video(adapter: VideoAdapter) -> int:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from extract.adapter import Batch

    height, width = adapter.spec.input_size
    frames = len(adapter.spec.frames.positions)
    pixels = torch.empty(1, frames, height, width, 3, dtype=torch.uint8, device="meta")
    inputs = {"pixels": pixels, "condition": pixels[:, 0], "clip": torch.empty(1, 3, 224, 224, device="meta")}
    with FlopCounterMode(display=False) as counter:
        adapter.forward(Batch(clip_ids=["clip"], inputs=inputs))
    return int(counter.get_total_flops())


def _language(adapter: VisionLanguageAdapter) -> int:
    network, tokens = adapter.network, adapter.tokens
    rows, columns = adapter.spec.taps["llm"].grid
    patches = len(adapter.spec.frames.positions) * PATCHES_PER_TOKEN * rows * columns
    blocks = network.language_model.layers
    weights: dict[str, int] = {
        name: value.numel() for name, value in network.named_parameters() if not name.endswith("embed_tokens.weight")
    }
    decoder = sum(count for name, count in weights.items() if name.startswith("language_model."))
    attention: int = sum(4 * tokens**2 * int(block.self_attn.q_proj.out_features) for block in blocks)
    return 2 * patches * (sum(weights.values()) - decoder) + 2 * tokens * decoder + attention
