"""The model files against the published table, and their architectures against the published sizes."""

from __future__ import annotations

from typing import Any

import pytest

from configs.loader import load_named
from configs.names import alias_names, model_names
from extract.adapter import Tap
from extract.model import load_model

# name -> block of the paper, blocks in all, width, grid, parameters without language head in billions
TABLE = {
    "internvl3-1b": (18, 24, 896, (16, 16), 0.80),
    "internvl3-2b": (18, 28, 1536, (16, 16), 1.86),
    "internvl3-8b": (18, 28, 3584, (16, 16), 7.40),
    "internvl3.5-4b": (22, 36, 2560, (16, 16), 4.34),
    "internvl3.5-8b": (22, 36, 4096, (16, 16), 7.91),
    "qwen2.5-vl-3b": (21, 36, 2048, (19, 34), 3.75),
    "qwen2.5-vl-7b": (21, 28, 3584, (19, 34), 7.75),
    "qwen3-vl-2b": (22, 28, 2048, (17, 30), 2.13),
    "qwen3-vl-4b": (22, 36, 2560, (17, 30), 4.44),
    "qwen3-vl-8b": (22, 36, 4096, (17, 30), 8.14),
    "sensenova-internvl3-8b": (21, 28, 3584, (16, 16), 7.40),
    "sensenova-qwen3-vl-8b": (25, 36, 4096, (17, 30), 8.14),
}


def test_every_vision_language_model_of_the_paper_is_in_the_table() -> None:
    models = {name: load_named("model", name) for name in model_names()}
    assert {name for name, model in models.items() if model.get("kind") == "vlm" and model.get("paper_numbers")} == set(
        TABLE
    )


@pytest.mark.parametrize("name", TABLE)
def test_file_agrees_with_the_published_table(kit: Any, name: str) -> None:
    block, blocks, width, grid, _ = TABLE[name]
    model, spec = kit.model(name), kit.make(name).spec
    for task in ("tagging", "instance", "geometry"):
        assert model.paper_numbers[task] == model.paper_blocks[task] == block  # entry k of hidden_states = k blocks run
        offer = spec.check(Tap(name="llm", block=model.paper_blocks[task]))
    assert (offer.blocks, offer.channels, offer.grid) == (blocks, width, grid)
    assert spec.taps["vision"].grid == grid
    assert tuple(model.paper_grid) == grid
    assert spec.rows == 20
    assert spec.store_dtype == "bfloat16"
    assert model.licence
    assert model.hub_id


def test_visual_tokens_per_clip_are_those_of_the_paper(kit: Any) -> None:
    def tokens(name: str) -> int:
        rows, columns = kit.make(name).spec.taps["llm"].grid
        return int(20 * rows * columns)

    assert [tokens(name) for name in ("internvl3-1b", "qwen2.5-vl-3b", "qwen3-vl-2b")] == [5120, 12920, 10200]


def test_aliases_point_at_models() -> None:
    aliases = alias_names()
    for alias in ("qwen3-vl", "qwen2.5-vl", "internvl3", "internvl3.5", "internvl", "sensenova"):
        assert aliases[alias] in TABLE
    assert load_model("qwen3-vl").name == "qwen3-vl-2b"


def count(kit: Any, name: str, depth: int) -> int:
    from extract.vlm.network import trimmed_network

    adapter = kit.make(name)
    config = adapter.family.config(adapter.model.architecture, lambda token: 7)
    parameters = list(trimmed_network(config, depth).parameters())
    assert {parameter.device.type for parameter in parameters} == {"meta"}
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("name", ["qwen3-vl-8b", "internvl3.5-4b"])
def test_full_size_networks_have_the_published_number_of_parameters(kit: Any, name: str) -> None:
    """Built on the meta device; a truncated one is smaller by its blocks."""
    block, blocks, _, _, billions = TABLE[name]
    whole = count(kit, name, blocks)
    assert round(whole / 1e9, 2) == billions
    assert whole > count(kit, name, block) > 0.4 * whole


@pytest.mark.full
@pytest.mark.parametrize("name", TABLE)
def test_all_full_size_networks_have_the_published_number_of_parameters(kit: Any, name: str) -> None:
    assert round(count(kit, name, TABLE[name][1]) / 1e9, 2) == TABLE[name][4]
