"""The tiny twin of Open-Sora 2.0: 2 double and 4 single blocks of width 32, under the published tensor names."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.model import ModelConfig
from extract.weights.twins import redraw

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
LATENT_CHANNELS = 4


def shrink(model: ModelConfig) -> ModelConfig:
    """Return the same model with small parts, inputs and grids."""
    architecture = {
        "transformer": {
            "patch_size": 1, "in_channels": 4 * (2 * LATENT_CHANNELS + 1), "out_channels": 4 * LATENT_CHANNELS,
            "num_layers": 2, "num_single_layers": 4, "attention_head_dim": 16, "num_attention_heads": 2,
            "joint_attention_dim": 24, "pooled_projection_dim": 12, "guidance_embeds": False,
            "axes_dims_rope": [4, 6, 6],
        },
        "vae": {
            "latent_channels": LATENT_CHANNELS, "block_out_channels": [8, 8, 8, 8], "layers_per_block": 1,
            "norm_num_groups": 2, "scaling_factor": 0.476986,
        },
        "text_encoder": {
            "vocab_size": 64, "d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2, "num_heads": 3,
            "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False,
        },
        "text_encoder_2": {
            "vocab_size": 64, "hidden_size": 12, "intermediate_size": 24, "num_hidden_layers": 2,
            "num_attention_heads": 2, "max_position_embeddings": 16, "bos_token_id": 62, "eos_token_id": 63,
        },
    }  # fmt: skip
    return replace(
        model, blocks=6, width=32, input_size=[80, 96], grid=[5, 6], paper_grid=[2, 3], architecture=architecture,
        paper_blocks=dict.fromkeys(model.paper_blocks, 4),
        settings={**model.settings, "text_tokens": 16, "clip_tokens": 16, "text_dtype": "float32"},
    )  # fmt: skip


def write(model: ModelConfig, seed: int, folder: Path) -> None:
    """Write the snapshot of a shrunk model, laid out like the published one."""
    from diffusers import AutoencoderKLHunyuanVideo
    from safetensors.torch import save_file
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

    parts, places = model.architecture, model.settings["places"]
    save_file(transformer_tensors(parts["transformer"], seed), folder / places["transformer"])
    vae = redraw(AutoencoderKLHunyuanVideo(**parts["vae"]), seed + 1)
    save_file(vae.state_dict(), folder / places["vae"])
    text: Any = redraw(T5EncoderModel(T5Config(**parts["text_encoder"])), seed + 2)
    text.save_pretrained(folder / places["text_encoder"])
    pooled: Any = redraw(CLIPTextModel(CLIPTextConfig(**parts["text_encoder_2"])), seed + 3)
    pooled.save_pretrained(folder / places["text_encoder_2"])


def transformer_tensors(architecture: dict[str, Any], seed: int) -> dict[str, Tensor]:
    """Return random tensors under the names of the published transformer."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    head = int(architecture["attention_head_dim"])
    width, latent = head * int(architecture["num_attention_heads"]), int(architecture["out_channels"])
    tensors: dict[str, Tensor] = {}

    def linear(name: str, out: int, into: int) -> None:
        tensors[f"{name}.weight"] = torch.randn(out, into, generator=generator) / math.sqrt(into)
        tensors[f"{name}.bias"] = 0.02 * torch.randn(out, generator=generator)

    def norms(name: str) -> None:
        for which in ("query", "key"):
            tensors[f"{name}.{which}_norm.scale"] = 1 + 0.1 * torch.randn(head, generator=generator)

    linear("img_in", width, latent)
    linear("cond_in", width, int(architecture["in_channels"]) - latent)
    linear("txt_in", width, int(architecture["joint_attention_dim"]))
    for name, into in (("time_in", 256), ("vector_in", int(architecture["pooled_projection_dim"]))):
        linear(f"{name}.in_layer", width, into)
        linear(f"{name}.out_layer", width, width)
    for block in range(int(architecture["num_layers"])):
        for stream in ("img", "txt"):
            place = f"double_blocks.{block}.{stream}_"
            linear(f"{place}mod.lin", 6 * width, width)
            for part in ("q_proj", "k_proj", "v_proj", "proj"):
                linear(f"{place}attn.{part}", width, width)
            norms(f"{place}attn.norm")
            linear(f"{place}mlp.0", 4 * width, width)
            linear(f"{place}mlp.2", width, 4 * width)
    for block in range(int(architecture["num_single_layers"])):
        place = f"single_blocks.{block}."
        for part, out, into in (("q_proj", 1, 1), ("k_proj", 1, 1), ("v_mlp", 5, 1), ("linear2", 1, 5)):
            linear(place + part, out * width, into * width)
        linear(f"{place}modulation.lin", 3 * width, width)
        norms(f"{place}norm")
    linear("final_layer.linear", latent, width)
    linear("final_layer.adaLN_modulation.1", 2 * width, width)
    return tensors
