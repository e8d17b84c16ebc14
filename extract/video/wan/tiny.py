"""The tiny twin of Wan 2.1: 6 blocks of width 32, a VAE of base 4, 96x160 pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from extract.model import ModelConfig
from extract.weights.twins import redraw

VERSION = 1


def shrink(model: ModelConfig) -> ModelConfig:
    """Return the same model with small parts, inputs and grids."""
    image = "image_encoder" in model.architecture
    architecture = {
        "transformer": {
            "patch_size": [1, 2, 2], "num_attention_heads": 2, "attention_head_dim": 16, "out_channels": 16,
            "in_channels": 36 if image else 16, "text_dim": 32, "freq_dim": 32, "ffn_dim": 64, "num_layers": 6,
            "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 64,
            "image_dim": 32 if image else None, "added_kv_proj_dim": 32 if image else None,
        },
        "vae": {
            "base_dim": 4, "z_dim": 16, "dim_mult": [1, 1, 1, 1], "num_res_blocks": 1,
            "temperal_downsample": [False, True, True],
        },
        "text_encoder": {
            "vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4,
            "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False,
        },
    }  # fmt: skip
    if image:
        architecture["image_encoder"] = {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
            "image_size": 32, "patch_size": 8, "projection_dim": 32,
        }  # fmt: skip
    return replace(
        model, blocks=6, width=32, input_size=[96, 160], grid=[6, 10], paper_grid=[3, 5], architecture=architecture,
        paper_blocks=dict.fromkeys(model.paper_blocks, 4), settings={**model.settings, "text_tokens": 16},
    )  # fmt: skip


def write(model: ModelConfig, seed: int, folder: Path) -> None:
    """Write the snapshot of a shrunk model, laid out like a published one."""
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    parts: dict[str, Any] = {
        "transformer": WanTransformer3DModel(**model.architecture["transformer"]),
        "vae": AutoencoderKLWan(**model.architecture["vae"]),
        "text_encoder": UMT5EncoderModel(UMT5Config(**model.architecture["text_encoder"])),
    }
    if "image_encoder" in model.architecture:
        parts["image_encoder"] = CLIPVisionModel(CLIPVisionConfig(**model.architecture["image_encoder"]))
    for number, (part, module) in enumerate(parts.items()):
        redraw(module, seed + number)
        module.save_pretrained(folder / part)
