"""What the tests of video models share: one thread, adapters of tiny twins, features of one clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import torch

from extract.adapter import Tap, Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video.base import VideoAdapter
from tests.extract.pictures import clip, run, taps
from tests.extract.video.models import Single, Tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(tiny_cache: str) -> Tiny:
    """Adapters of tiny twins; latents are kept, so that each clip is encoded once."""

    @cache
    def make(name: str, **choices: Any) -> VideoAdapter:
        variant = Variant(weights="random", size="tiny", cache=tiny_cache, cache_latents=True, **choices)
        adapter = build_adapter(load_model(name), variant)
        assert isinstance(adapter, VideoAdapter)
        return adapter

    return make


@pytest.fixture(scope="session")
def single(tiny: Tiny) -> Single:
    """Features of one clip after blocks 2, 4 and 6, with the whole network loaded."""

    @cache
    def features(name: str) -> Mapping[str, torch.Tensor]:
        adapter = tiny(name)
        adapter.load([*taps(adapter, (2, 4, 6)), Tap(name="vae")])
        return run(adapter, [clip(adapter)])

    return features
