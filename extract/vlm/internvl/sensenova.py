"""SenseNova-SI: InternVL3 and Qwen3-VL trained further on spatial questions; another prompt, otherwise the same.

The InternVL3 one reads `Image-<k>: ` before each picture and has the files of InternVL's first release; the Qwen3-VL
one reads pictures only. Both were extracted for the paper but are not in its table.
"""

from __future__ import annotations

from dataclasses import replace

from configs.errors import ConfigError
from extract.adapter import Variant
from extract.model import ModelConfig
from extract.vlm.base import VisionLanguageAdapter
from extract.vlm.family import Family
from extract.vlm.internvl.adapter import InternVLFamily
from extract.vlm.qwen.qwen3 import FAMILY as QWEN3_VL

_BASES: dict[str, Family] = {
    "internvl": replace(InternVLFamily(), name="sensenova"),
    "qwen3_vl": replace(QWEN3_VL, name="sensenova"),
}


def build(model: ModelConfig, variant: Variant) -> VisionLanguageAdapter:
    """Make the adapter of one SenseNova-SI; `settings.base` names the family it was trained from.

    Raises:
        ConfigError: `settings.base` is none of them.
    """
    base = model.settings.get("base")
    if base not in _BASES:
        raise ConfigError(f"settings.base of {model.name} must name a family", expected=" or ".join(_BASES), found=base)
    return VisionLanguageAdapter(model, variant, _BASES[base])
