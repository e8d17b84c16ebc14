"""Architecture of the tiny Qwen2.5-VL and Qwen3-VL twins: 6 decoder blocks of width 32, 256x256 pixels per frame."""

from __future__ import annotations

TARGET = (256, 256)
"""Size in pixels that a tiny twin's frames are squeezed to (252x252 after rounding for Qwen2.5-VL)."""

_TEXT = {
    "vocab_size": 264,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 65536,
    "bos_token_id": None,
    "eos_token_id": None,
}
_VISION = {
    "depth": 4,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_heads": 2,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 32,
}

QWEN3_VL = {
    "text": {
        **_TEXT,
        "head_dim": 16,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 5e6,
            "mrope_section": [4, 2, 2],
            "mrope_interleaved": True,
        },
    },
    "vision": {**_VISION, "patch_size": 16, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1, 2]},
}

QWEN2_5_VL = {
    "text": {
        **_TEXT,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 1, 1]},
    },
    "vision": {**_VISION, "patch_size": 14, "window_size": 56, "fullatt_block_indexes": [1, 3]},
}
