"""One module per family of backbones, each with `build(model, variant) -> Adapter`; found by name."""

from __future__ import annotations

from importlib import import_module

from configs.errors import ConfigError
from configs.loader import closest
from extract.adapter import Adapter, Variant
from extract.model import ModelConfig

_FAMILIES = {
    "cogvideox": "extract.video.cogvideox.adapter",
    "internvl": "extract.vlm.internvl.adapter",
    "opensora": "extract.video.opensora.adapter",
    "oracle": "extract.controls.oracle",
    "pixels": "extract.controls.pixels",
    "position": "extract.controls.position",
    "qwen": "extract.vlm.qwen.adapter",
    "wan": "extract.video.wan.adapter",
}


def families() -> dict[str, str]:
    """Return family name -> module."""
    return dict(_FAMILIES)


def build_adapter(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the adapter of one model in one variant; loads no weights.

    Raises:
        ConfigError: the model names a family that has no module.
    """
    known = families()
    if model.family not in known:
        raise ConfigError(f"unknown family {model.family!r} of model {model.name}", fix=closest(model.family, known))
    adapter: Adapter = import_module(known[model.family]).build(model, variant)
    return adapter
