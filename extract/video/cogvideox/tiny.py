"""The tiny twin of CogVideoX: 6 blocks of width 32, a VAE of width 8, 96x144 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from extract.model import ModelConfig
from extract.weights.twins import redraw

VERSION = 1
LATENT_CHANNELS = 4


def shrink(model: ModelConfig) -> ModelConfig:
    """Return the same model with small parts, inputs and grids."""
    large = model.architecture["transformer"]
    transformer = {
        "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": _fewer(large["in_channels"]),
        "out_channels": _fewer(large["out_channels"]), "time_embed_dim": 16, "text_embed_dim": 32, "num_layers": 6,
        "sample_height": 12, "sample_width": 18, "sample_frames": large["sample_frames"], "max_text_seq_length": 16,
        "use_rotary_positional_embeddings": large["use_rotary_positional_embeddings"],
        "use_learned_positional_embeddings": large["use_learned_positional_embeddings"],
    }  # fmt: skip
    vae = {
        "block_out_channels": [8, 8, 8, 8], "latent_channels": LATENT_CHANNELS, "layers_per_block": 1,
        "norm_num_groups": 2, "sample_height": 96, "sample_width": 144,
        "scaling_factor": model.architecture["vae"]["scaling_factor"],
    }  # fmt: skip
    text_encoder = {
        "vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
        "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False,
    }  # fmt: skip
    return replace(
        model, blocks=6, width=32, input_size=[96, 144], grid=[6, 9], paper_grid=[3, 4],
        paper_blocks=dict.fromkeys(model.paper_blocks, 4),
        architecture={"transformer": transformer, "vae": vae, "text_encoder": text_encoder},
        # half of the width, the default, would give tiles of 7.2 latents
        settings={**model.settings, "text_dtype": "float32", "tile_width": 80},
    )  # fmt: skip


def _fewer(channels: int) -> int:
    """Return channels with latents of 4 instead of 16; the ray channels of Aether (24 out, 48 in) stay."""
    rays = {56: 24, 96: 48}.get(channels, 0)
    return (channels - rays) // 16 * LATENT_CHANNELS + rays


def write(model: ModelConfig, seed: int, folder: Path) -> None:
    """Write the snapshot of a shrunk model, laid out like a published one."""
    from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
    from transformers import T5Config, T5EncoderModel

    parts: dict[str, Any] = {
        "transformer": CogVideoXTransformer3DModel(**model.architecture["transformer"]),
        "vae": AutoencoderKLCogVideoX(**model.architecture["vae"]),
        "text_encoder": T5EncoderModel(T5Config(**model.architecture["text_encoder"])),
    }
    for number, (part, module) in enumerate(parts.items()):
        redraw(module, seed + number)
        module.save_pretrained(folder / part)
