"""Qwen2.5-VL: the 20 query frames as 20 images of one chat turn; language-model features at the visual tokens.

Frames are squeezed to 960x540 and then to multiples of 28 pixels (952x532), so a map is 19x34 at full size (published
protocol: images one by one, no merging in time, Pillow's bicubic filter).

Block k is the output of decoder layer k, which transformers calls `hidden_states[k]`, except for the last one, whose
entry there is normalised and whose map here is not. The time axis of the positions is the place of the image in the
sequence; one release of transformers (5.3) multiplied it by two for images, so features made with it differ.
"""

from __future__ import annotations

from extract.adapter import Variant
from extract.model import ModelConfig
from extract.vlm.base import VisionLanguageAdapter
from extract.vlm.qwen.adapter import QwenFamily
from extract.vlm.qwen.tiny import QWEN2_5_VL

FAMILY = QwenFamily(
    name="qwen2_5_vl",
    version=1,
    model_types=("qwen2_5_vl",),
    config_class="Qwen2_5_VLConfig",
    patch=14,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    tiny_architecture=QWEN2_5_VL,
)


def build(model: ModelConfig, variant: Variant) -> VisionLanguageAdapter:
    """Make the adapter of one Qwen2.5-VL; see `extract.adapter.Build`."""
    return VisionLanguageAdapter(model, variant, FAMILY)
