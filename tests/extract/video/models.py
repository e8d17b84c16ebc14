"""The video models that the tests go through, and shorthands for their blocks."""

from __future__ import annotations

from typing import Any

import pytest

from extract.adapter import Adapter
from tests.extract.pictures import taps

MODELS = ["wan-t2v-1.3b", "cogvideox-t2v-2b", "cogvideox-i2v-5b", "aether", "opensora"]
SLOW = [pytest.param(name, marks=pytest.mark.full) for name in ("wan-i2v-14b", "cogvideox-t2v-5b")]
ALL = [*MODELS, *SLOW]


def block_keys(adapter: Adapter, blocks: tuple[int, ...]) -> list[str]:
    return [tap.key for tap in taps(adapter, blocks)]


def chain(transformer: Any) -> list[Any]:
    """All blocks in the order in which they run."""
    if hasattr(transformer, "blocks"):
        return list(transformer.blocks)
    return [*transformer.transformer_blocks, *getattr(transformer, "single_transformer_blocks", [])]
