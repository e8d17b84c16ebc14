"""The adapter contract for every model of configs/model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from configs.names import model_names
from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from tests.extract.contract import check_contract

QUICK = ("pixels", "position", "oracle")


def models() -> Iterator[Any]:
    """All but `position`, which is the same for every clip, as it should be."""
    for name in sorted(set(model_names()) - {"position"}):
        yield pytest.param(name, marks=[] if name in QUICK else pytest.mark.full)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", list(models()))
def test_contract(name: str, tiny_cache: str) -> None:
    model = load_model(name)
    choices: dict[str, Any] = (
        {"extra": {"grid": (6, 8)}} if model.kind == "control" else {"weights": "random", "size": "tiny"}
    )
    check_contract(build_adapter, model, Variant(cache=tiny_cache, cache_latents=True, **choices))
