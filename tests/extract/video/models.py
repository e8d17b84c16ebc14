"""The video models that the tests go through, and shorthands for their blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest
import torch

from extract.adapter import Adapter
from extract.video.base import VideoAdapter
from tests.extract.pictures import taps

MODELS = ["wan-t2v-1.3b", "cogvideox-t2v-2b", "cogvideox-i2v-5b", "aether", "opensora"]
SLOW = [pytest.param(name, marks=pytest.mark.full) for name in ("wan-i2v-14b", "cogvideox-t2v-5b")]
ALL = [*MODELS, *SLOW]


Single = Callable[[str], Mapping[str, torch.Tensor]]
"""Name of a model -> features of one clip at its tiny size."""


class Tiny(Protocol):
    """Makes adapters of tiny twins; the same one for the same choices."""

    def __call__(self, name: str, **choices: Any) -> VideoAdapter: ...


def block_keys(adapter: Adapter, blocks: tuple[int, ...]) -> list[str]:
    return [tap.key for tap in taps(adapter, blocks)]


def transformer_of(adapter: VideoAdapter) -> Any:
    """The library's network that the adapter has loaded."""
    (network,) = (module for module in adapter.modules() if "Transformer" in type(module).__name__)
    return network


def chain(transformer: Any) -> list[Any]:
    """All blocks in the order in which they run."""
    if hasattr(transformer, "blocks"):
        return list(transformer.blocks)
    return [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", [])]
