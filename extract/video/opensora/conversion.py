"""The published Open-Sora 2.0 transformer as the library's Flux transformer: an exact, checked renaming.

Open-Sora's transformer is Flux with a second input for the condition, separate q/k/v, and rotary pairs (i, i + d/2)
where the library has (2i, 2i + 1). So the condition's input layer is appended to the picture's, and rows of queries and
keys (and the scales of their norms) are permuted per head; nothing else changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import ModelError
from extract.weights.checkpoint import Checkpoint, on_meta

if TYPE_CHECKING:
    import torch
    from torch import Tensor

STEM = {
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
}
DOUBLE = {
    "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear",
    "img_attn.q_proj": "attn.to_q", "img_attn.k_proj": "attn.to_k", "img_attn.v_proj": "attn.to_v",
    "txt_attn.q_proj": "attn.add_q_proj", "txt_attn.k_proj": "attn.add_k_proj", "txt_attn.v_proj": "attn.add_v_proj",
    "img_attn.norm.query_norm": "attn.norm_q", "img_attn.norm.key_norm": "attn.norm_k",
    "txt_attn.norm.query_norm": "attn.norm_added_q", "txt_attn.norm.key_norm": "attn.norm_added_k",
    "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
}  # fmt: skip
SINGLE = {
    "q_proj": "attn.to_q", "k_proj": "attn.to_k", "linear2": "proj_out", "modulation.lin": "norm.linear",
    "norm.query_norm": "attn.norm_q", "norm.key_norm": "attn.norm_k", "v_mlp": "",
}  # fmt: skip
INPUT = ("img_in.weight", "img_in.bias", "cond_in.weight", "cond_in.bias")
UNUSED = re.compile(r"final_layer\.")
"""The output layer is never run."""
BLOCK = re.compile(r"(double|single)_blocks\.(\d+)\.(.+)\.(weight|bias|scale)$")


def load_transformer(path: Path, architecture: Mapping[str, Any], dtype: torch.dtype, device: str) -> Any:
    """Load a trimmed Flux transformer from the published file, reading only the blocks it has.

    Args:
        path: `Open_Sora_v2.safetensors`.
        architecture: constructor arguments with the wanted numbers of double and single blocks.
        dtype, device: of the result.

    Raises:
        ModelError: a name is unknown or missing, or a shape differs.
    """
    from diffusers import FluxTransformer2DModel

    with on_meta():
        module: Any = FluxTransformer2DModel(**architecture)
    module.norm_out = module.proj_out = None
    checkpoint = Checkpoint(path)
    limits = {"double": int(architecture["num_layers"]), "single": int(architecture["num_single_layers"])}
    wanted = [name for name in checkpoint.names if _needed(name, limits, path)]
    tensors = {}
    for name, tensor in converted(checkpoint.read(wanted, device), int(architecture["num_attention_heads"])):
        tensors[name] = tensor.to(dtype)
    expected = {name: list(value.shape) for name, value in module.state_dict().items()}
    found = {name: list(value.shape) for name, value in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise ModelError(
            "the weights don't fit the Open-Sora transformer",
            where=path,
            expected=f"{wrong[0]} of shape {expected.get(wrong[0])}",
            found=f"shape {found.get(wrong[0])}, and {len(wrong) - 1} more differences",
            fix="check that weights= names Open-Sora 2.0, and download it again if it does",
        )
    module.load_state_dict(tensors, strict=True, assign=True)
    return module.to(device).eval().requires_grad_(False)


def converted(tensors: Iterator[tuple[str, Tensor]], heads: int) -> Iterator[tuple[str, Tensor]]:
    """Turn published (name, tensor) pairs into the library's; input layers come when all of their parts have."""
    import torch

    inputs: dict[str, Tensor] = {}
    for name, tensor in tensors:
        if name in INPUT:
            inputs[name] = tensor
            if len(inputs) == len(INPUT):
                yield "x_embedder.weight", torch.cat([inputs["img_in.weight"], inputs["cond_in.weight"]], dim=1)
                yield "x_embedder.bias", inputs["img_in.bias"] + inputs["cond_in.bias"]
            continue
        match = BLOCK.fullmatch(name)
        if match is None:
            stem, leaf = name.rsplit(".", 1)
            yield f"{STEM[stem]}.{leaf}", tensor
            continue
        kind, number, part, leaf = match.groups()
        place = f"{'transformer_blocks' if kind == 'double' else 'single_transformer_blocks'}.{number}"
        if part == "v_mlp":
            width = tensor.shape[0] // 5
            yield f"{place}.attn.to_v.{leaf}", tensor[:width]
            yield f"{place}.proj_mlp.{leaf}", tensor[width:]
            continue
        target = (DOUBLE if kind == "double" else SINGLE)[part]
        if part.endswith(("q_proj", "k_proj")):
            tensor = interleaved(tensor.view(heads, -1, *tensor.shape[1:]), 1).flatten(0, 1)
        if leaf == "scale":
            tensor, leaf = interleaved(tensor, 0), "weight"
        yield f"{place}.{target}.{leaf}", tensor


def interleaved(tensor: Tensor, dim: int) -> Tensor:
    """Reorder one axis from halves (0 ... d/2-1, d/2 ... d-1) to pairs (0, d/2, 1, d/2 + 1, ...)."""
    shape = (*tensor.shape[:dim], 2, -1, *tensor.shape[dim + 1 :])
    return tensor.reshape(shape).transpose(dim, dim + 1).flatten(dim, dim + 1)


def _needed(name: str, limits: Mapping[str, int], path: Path) -> bool:
    match = BLOCK.fullmatch(name)
    if match is not None and match[3] in (DOUBLE if match[1] == "double" else SINGLE):
        return int(match[2]) < limits[match[1]]
    if name in INPUT or name.rsplit(".", 1)[0] in STEM:
        return True
    if UNUSED.match(name):
        return False
    raise ModelError(
        f"unknown tensor {name} in the Open-Sora transformer",
        where=path,
        fix="only the published Open-Sora 2.0 is known",
    )
