"""One module per family of backbones, each with `build(model, variant) -> Adapter`; found by file name."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from configs.errors import ConfigError
from configs.loader import closest
from extract.adapter import Adapter, Variant
from extract.model import ModelConfig

_FOLDERS = {"extract.backbones": Path(__file__).parent, "extract.sources": Path(__file__).parent.parent / "sources"}


def families() -> dict[str, str]:
    """Return family name -> module, from the files of `extract/backbones` and `extract/sources`."""
    return {
        file.stem: f"{package}.{file.stem}"
        for package, folder in _FOLDERS.items()
        for file in sorted(folder.glob("*.py"))
        if not file.stem.startswith("_")
    }


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
