"""InternVL checkpoints in the layout of their first release, read without the code that came with them.

That layout names tensors after its own modules, packs query, key and value of the vision tower into one matrix and
describes itself in another config.json. Everything is a matter of renaming and cutting; nothing is computed.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import ModelError
from extract.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PARTS = ("q_proj", "k_proj", "v_proj")

_LAYER = r"^vision_model\.encoder\.layers\.(\d+)\."

_RULES = (
    (r"^vision_model\.embeddings\.class_embedding$", "vision_tower.embeddings.cls_token"),
    (r"^vision_model\.embeddings\.position_embedding$", "vision_tower.embeddings.position_embeddings"),
    (r"^vision_model\.embeddings\.patch_embedding\.", "vision_tower.embeddings.patch_embeddings.projection."),
    (_LAYER + r"attn\.proj\.", r"vision_tower.encoder.layer.\1.attention.projection_layer."),
    (_LAYER + r"attn\.", r"vision_tower.encoder.layer.\1.attention."),
    (_LAYER + r"ls([12])$", r"vision_tower.encoder.layer.\1.lambda_\2"),
    (_LAYER + r"norm1\.", r"vision_tower.encoder.layer.\1.layernorm_before."),
    (_LAYER + r"norm2\.", r"vision_tower.encoder.layer.\1.layernorm_after."),
    (r"^vision_model\.encoder\.layers\.", "vision_tower.encoder.layer."),
    (r"^mlp1\.0\.", "multi_modal_projector.layer_norm."),
    (r"^mlp1\.1\.", "multi_modal_projector.linear_1."),
    (r"^mlp1\.3\.", "multi_modal_projector.linear_2."),
)  # fmt: skip


def is_original(folder: Path) -> bool:
    """Whether a snapshot has the layout of the first release."""
    raw: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "llm_config" in raw


def rename(name: str) -> str:
    """Return the native name of an original tensor; other names come back as they are."""
    for pattern, target in _RULES:
        name, found = re.subn(pattern, target, name)
        if found:
            break
    return name


@dataclass(frozen=True)
class OriginalCheckpoint(Checkpoint):
    """A checkpoint that offers packed `qkv` tensors as three, cut evenly along their first axis."""

    @property
    def names(self) -> set[str]:
        """See `Checkpoint.names`."""
        return {part for name in self.files for part in _unpacked(name)}

    def read(self, names: Iterable[str], device: str | torch.device = "cpu") -> Iterator[tuple[str, Tensor]]:
        """See `Checkpoint.read`."""
        wanted = set(names)
        stored = {part: name for name in self.files for part in _unpacked(name)}
        pieces: dict[str, list[str]] = defaultdict(list)
        for name in wanted:
            pieces[stored[name]].append(name)
        for name, tensor in super().read(pieces, device):
            parts = _unpacked(name)
            for part, piece in zip(parts, tensor.chunk(len(parts)), strict=True):
                if part in wanted:
                    yield part, piece


def _unpacked(name: str) -> list[str]:
    if ".attn.qkv." not in name:
        return [name]
    return [name.replace(".qkv.", f".{part}.") for part in _PARTS]


def read_config(folder: Path) -> Any:
    """Translate config.json of the first release into the library's configuration.

    Raises:
        ModelError: it describes something that the native classes don't do.
    """
    from transformers import InternVLConfig

    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    llm, vision = raw["llm_config"], raw["vision_config"]
    architecture = (llm.get("architectures") or ["none"])[0]
    kinds = {"Qwen2ForCausalLM": "qwen2", "Qwen3ForCausalLM": "qwen3"}
    odd = {
        "language model": architecture if architecture not in kinds else None,
        "select_layer": raw.get("select_layer", -1) if raw.get("select_layer", -1) != -1 else None,
        "ps_version": raw.get("ps_version", "v2") if raw.get("ps_version", "v2") != "v2" else None,
    }
    if any(value is not None for value in odd.values()):
        raise ModelError(
            "this InternVL checkpoint has a part that the native classes lack", where=folder / "config.json",
            expected="Qwen2 or Qwen3 language model, last vision layer, pixel shuffle v2",
            found={name: value for name, value in odd.items() if value is not None},
            fix="use an InternVL3 or InternVL3.5 checkpoint",
        )  # fmt: skip
    text_keys = (
        "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "rms_norm_eps",
    )  # fmt: skip
    vision_keys = (
        "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "image_size",
        "patch_size", "num_channels", "norm_type", "layer_norm_eps",
    )  # fmt: skip
    scaling = llm.get("rope_scaling") or {"rope_type": "default"}
    rope = {**scaling, "rope_theta": llm.get("rope_theta", 10000.0)}
    rope["rope_type"] = rope.pop("type", rope.get("rope_type"))
    return InternVLConfig(
        text_config={
            "model_type": kinds[architecture],
            "rope_parameters": rope,
            **{key: llm[key] for key in text_keys if key in llm},
        },
        vision_config={
            "attention_bias": vision.get("qkv_bias", True),
            "use_qk_norm": vision.get("qk_normalization", False),
            **{key: vision[key] for key in vision_keys if key in vision},
        },
        downsample_ratio=raw.get("downsample_ratio", 0.5),
        tie_word_embeddings=False,
    )
