"""Snapshots of vision-language models with an inconsistent config.json, or one of a network with other heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from configs.errors import CorruptionError, ModelError

HEADS: dict[str, list[tuple[str, Any]]] = {
    "qwen3-vl-8b": [
        ("text_config.num_attention_heads", 2),
        ("text_config.head_dim", 8),
        ("vision_config.num_heads", 4),
        ("vision_config.deepstack_visual_indexes", [1, 2, 3]),
        ("text_config.rope_parameters.mrope_section", [2, 4, 2]),
    ],
    "qwen2.5-vl-7b": [("vision_config.num_heads", 4), ("vision_config.fullatt_block_indexes", [0, 3])],
    "internvl3.5-8b": [
        ("text_config.num_key_value_heads", 1),
        ("text_config.head_dim", 16),
        ("vision_config.num_attention_heads", 2),
    ],
}
BROKEN: list[tuple[str, Any]] = [
    ("text_config", 3),
    ("text_config.hidden_size", "x"),
    ("text_config.hidden_act", "x"),
    ("text_config.vocab_size", -1),
    ("text_config.num_attention_heads", 0),
    ("text_config.num_hidden_layers", None),
    ("text_config.rope_parameters.rope_type", "x"),
    ("vision_config", None),
    ("vision_config.patch_size", 7),
    ("dtype", "x"),
]


def with_config(kit: Any, name: str, folder: Path, key: str, value: Any) -> Any:
    """Adapter of a copied snapshot in whose config.json one value is another."""
    kit.copy(name, folder, dict)
    file = folder / "config.json"
    config = inner = json.loads(file.read_text())
    *path, last = key.split(".")
    for each in path:
        inner = inner[each]
    assert inner[last] != value
    inner[last] = value
    file.write_text(json.dumps(config))
    return kit.make(name, size="tiny", weights=str(folder))


@pytest.mark.parametrize(("name", "key", "value"), [(n, k, v) for n, cases in HEADS.items() for k, v in cases])
def test_other_heads_are_refused_although_tensors_fit(
    kit: Any, tmp_path: Path, name: str, key: str, value: Any
) -> None:
    adapter = with_config(kit, name, tmp_path / "copy", key, value)
    with pytest.raises(ModelError, match="the snapshot belongs to another model") as caught:
        adapter.load(kit.llm(3))
    last = key.split(".")[1]
    assert last in str(caught.value.expected) and last in str(caught.value.found) and caught.value.fix


@pytest.mark.parametrize("name", ["qwen3-vl-8b", "internvl3.5-8b"])
@pytest.mark.parametrize(("key", "value"), BROKEN)
def test_an_inconsistent_configuration_is_refused(kit: Any, tmp_path: Path, name: str, key: str, value: Any) -> None:
    adapter = with_config(kit, name, tmp_path / "copy", key, value)
    with pytest.raises(ModelError) as caught:
        adapter.load(kit.llm(3))
    assert caught.value.where and caught.value.found is not None and caught.value.fix


def test_another_context_length_is_not_another_model(kit: Any, tmp_path: Path) -> None:
    """Models trained further may have changed it; no feature depends on it."""
    key = "text_config.max_position_embeddings"
    with_config(kit, "qwen3-vl-8b", tmp_path / "copy", key, 4096).load(kit.llm(3))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000])
def test_broken_pixel_statistics_are_refused(kit: Any, tmp_path: Path, text: str) -> None:
    folder = kit.copy("qwen3-vl-8b", tmp_path / "copy", dict)
    (folder / "preprocessor_config.json").write_text(text)
    with pytest.raises(CorruptionError, match=r"preprocessor_config\.json"):
        kit.make("qwen3-vl-8b", size="tiny", weights=str(folder)).load(kit.llm(1))


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_broken_tokenizer_is_refused(kit: Any, tmp_path: Path, text: str) -> None:
    folder = kit.copy("qwen3-vl-8b", tmp_path / "copy", dict)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ModelError, match="the tokenizer of the snapshot can't be loaded"):
        kit.make("qwen3-vl-8b", size="tiny", weights=str(folder)).load(kit.llm(1))
