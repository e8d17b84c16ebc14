"""Qwen3-VL: the 20 query frames as 20 images of one chat turn; language-model features at the visual tokens.

Frames are squeezed to 960x540 and then to multiples of 32 pixels (960x544), so a map is 17x30 at full size (published
protocol: images one by one, no merging in time, Pillow's bicubic filter).

Block k is the output of decoder layer k, which transformers calls `hidden_states[k]`. DeepStack adds features of the
vision tower to the visual tokens *after* layers 1, 2 and 3. As in the published protocol, the maps of blocks 1 to 3 are
the layers' own outputs, before that addition, which is part of what the next block starts from. The map of the last
block is not normalised, unlike the last entry of `hidden_states`.
"""

from __future__ import annotations

from extract.adapter import Variant
from extract.model import ModelConfig
from extract.vlm.base import VisionLanguageAdapter
from extract.vlm.qwen.adapter import QwenFamily
from extract.vlm.qwen.tiny import QWEN3_VL

FAMILY = QwenFamily(
    name="qwen3_vl",
    version=1,
    model_types=("qwen3_vl",),
    config_class="Qwen3VLConfig",
    patch=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    tiny_architecture=QWEN3_VL,
)


def build(model: ModelConfig, variant: Variant) -> VisionLanguageAdapter:
    """Make the adapter of one Qwen3-VL; see `extract.adapter.Build`."""
    return VisionLanguageAdapter(model, variant, FAMILY)
