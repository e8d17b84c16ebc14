"""Architecture of the tiny InternVL3 and InternVL3.5 twins: 6 decoder blocks of width 32, 224x224 pixels per frame."""

from __future__ import annotations

from typing import Any

TILE = 224
"""Side in pixels that a tiny twin's frames are squeezed to; 8x8 visual tokens."""


def internvl(generation: str) -> dict[str, Any]:
    """Return the constructor arguments for a language model of type "qwen2" (InternVL3) or "qwen3" (InternVL3.5)."""
    text: dict[str, Any] = {
        "model_type": generation,
        "vocab_size": 264,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 32768,
    }
    if generation == "qwen3":
        text["head_dim"] = 8
    vision = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "image_size": [TILE, TILE],
        "patch_size": [14, 14],
        "attention_bias": True,
    }
    return {"text": text, "vision": vision}
