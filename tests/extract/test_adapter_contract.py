"""The adapter contract for every model of configs/model, and for the example of the documentation."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from configs.loader import resolve
from extract.adapter import Variant
from extract.backbones import build_adapter
from extract.contract import check_contract
from extract.model import ModelConfig, load_model, model_names

QUICK = ("pixels", "position", "oracle")
DOCUMENT = Path(__file__).parents[2] / "docs" / "add-a-model.md"


def models():
    """All but `position`, which is the same for every clip, as it should be."""
    for name in sorted(set(model_names()) - {"position"}):
        yield pytest.param(name, marks=[] if name in QUICK else pytest.mark.full)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", list(models()))
def test_contract(name, tiny_cache):
    model = load_model(name)
    choices = {"extra": {"grid": (6, 8)}} if model.kind == "control" else {"weights": "random", "size": "tiny"}
    check_contract(build_adapter, model, Variant(cache=tiny_cache, cache_latents=True, **choices))


def code_block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def test_the_documented_example_holds_the_contract(tiny_cache, tmp_path):
    from configs.loader import read_yaml

    (tmp_path / "dinov2-base.yaml").write_text(code_block("yaml"))
    model = resolve(ModelConfig, [{**read_yaml(tmp_path / "dinov2-base.yaml"), "name": "dinov2-base"}], {})
    source = code_block("python")
    assert len(source.splitlines()) <= 150
    module = ModuleType("documented_example")
    sys.modules["documented_example"] = module  # dataclasses and annotations look there
    exec(compile(source, str(DOCUMENT), "exec"), vars(module))
    check_contract(module.build, model, Variant(weights="random", size="tiny", cache=tiny_cache))
    full = module.build(model, Variant(weights="random"))
    assert list(full.spec.taps["vit"].grid) == model.grid
