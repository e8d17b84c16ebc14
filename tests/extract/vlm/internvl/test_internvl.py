"""InternVL: the layouts of its published checkpoints, both generations, and the prompt of the first release."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import ModelError
from extract.vlm.text import INTERNVL_MARKUP, Prompt, chat_text, token_sequence
from extract.weights.libraries import load_tokenizer

GENERATIONS = ["internvl3-8b", "internvl3.5-8b"]


def forerunner(tensors: dict[str, Any]) -> dict[str, Any]:
    """Layout of the first `-hf` snapshots."""
    new = {}
    for key, value in tensors.items():
        key = key.removeprefix("model.")
        if key.startswith("language_model.") and not key.startswith(
            ("language_model.model.", "language_model.lm_head.")
        ):
            key = key.replace("language_model.", "language_model.model.", 1)
        new["language_model." + key if key.startswith("lm_head") else key] = value
    return new


def current(tensors: dict[str, Any]) -> dict[str, Any]:
    """Layout that the library's classes have today."""
    old = forerunner(tensors)
    names = {key: "model." + key.replace("language_model.model.", "language_model.") for key in old}
    return {names[k].replace("model.language_model.lm_head", "lm_head"): value for k, value in old.items()}


def first_release(tensors: dict[str, Any]) -> dict[str, Any]:
    """Layout of the first release: other names, query, key and value of the vision tower in one matrix."""
    new: dict[str, Any] = {}
    packed: dict[str, list[Any]] = {}
    projector = {"layer_norm": "mlp1.0", "linear_1": "mlp1.1", "linear_2": "mlp1.3"}
    words = {
        "vision_tower.": "vision_model.", "embeddings.cls_token": "embeddings.class_embedding",
        "position_embeddings": "position_embedding", "patch_embeddings.projection": "patch_embedding",
        "encoder.layer.": "encoder.layers.", "attention.projection_layer": "attn.proj", "layernorm_before": "norm1",
        "layernorm_after": "norm2", "lambda_": "ls", ".attention.": ".attn.",
    }  # fmt: skip
    for key, value in sorted(forerunner(tensors).items()):
        if key.startswith("multi_modal_projector."):
            _, part, kind = key.split(".")
            key = f"{projector[part]}.{kind}"
        elif key.startswith("vision_tower."):
            for native, original in words.items():
                key = key.replace(native, original)
        letter = re.search(r"\.([qkv])_proj\.", key) if key.startswith("vision_model.") else None
        if letter:
            packed.setdefault(key.replace(letter[0], ".qkv."), []).append((letter[1], value))
        else:
            new[key] = value
    order = "qkv"
    for key, parts in packed.items():
        new[key] = torch.cat([value for _, value in sorted(parts, key=lambda item: order.index(item[0]))])
    return new


def first_config(folder: Path) -> dict[str, Any]:
    """The config.json of the first release for a native snapshot."""
    native = json.loads((folder / "config.json").read_text())
    text, vision = native["text_config"], native["vision_config"]
    rope = text["rope_parameters"]
    architecture = {"qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}[text["model_type"]]
    llm = {**text, "architectures": [architecture], "rope_theta": rope["rope_theta"], "rope_scaling": None}
    llm.pop("rope_parameters")
    return {
        "model_type": "internvl_chat", "architectures": ["InternVLChatModel"], "select_layer": -1, "ps_version": "v2",
        "downsample_ratio": 0.5, "llm_config": llm,
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "vision_config": {
            **vision, "image_size": vision["image_size"][0], "patch_size": vision["patch_size"][0], "qkv_bias": True,
            "qk_normalization": False,
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", GENERATIONS)
@pytest.mark.parametrize("layout", [forerunner, current])
def test_native_layouts_load(kit: Any, tmp_path: Path, name: str, layout: Any) -> None:
    folder = kit.copy(name, tmp_path / "copy", layout)
    names = set(load_file(folder / "model.safetensors"))
    assert ("language_model.model.embed_tokens.weight" in names) == (layout is forerunner)
    assert ("model.language_model.embed_tokens.weight" in names) == (layout is current)
    adapter = kit.make(name, size="tiny", weights=str(folder))
    adapter.load(kit.llm(3))
    mine = dict(adapter.network.named_parameters())
    for key, value in kit.loaded(name, *kit.llm(3)).network.named_parameters():
        assert torch.equal(mine[key], value), key


@pytest.mark.parametrize("name", GENERATIONS)
def test_first_release_gives_the_same_bits(kit: Any, tmp_path: Path, name: str) -> None:
    """Renamed, unpacked and described by its own config.json, without its code."""
    folder = kit.copy(name, tmp_path / "copy", first_release)
    names = set(load_file(folder / "model.safetensors"))
    assert {
        "vision_model.encoder.layers.0.attn.qkv.weight",
        "mlp1.0.weight",
        "vision_model.encoder.layers.1.ls2",
    } <= names
    (folder / "config.json").write_text(json.dumps(first_config(folder)))
    adapter = kit.make(name, size="tiny", weights=str(folder))
    adapter.load(kit.llm(3))
    assert torch.equal(kit.run(adapter, kit.clip())["llm.b3"], kit.features(name)["llm.b3"])


def test_tokenizer_files_of_the_first_release_load_without_its_code(tmp_path: Path) -> None:
    """Vocabulary and merges in separate files, and a config.json that points at remote classes."""
    from tokenizers import pre_tokenizers

    symbols = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "Fr"]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>"]
    added = {str(len(symbols) + i): {"content": token, "special": True} for i, token in enumerate(special)}
    remote = {
        "model_type": "internvl_chat",
        "auto_map": {"AutoConfig": "configuration_internvl_chat.InternVLChatConfig"},
    }
    settings = {"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": added, "eos_token": "<|im_end|>"}
    (tmp_path / "vocab.json").write_text(json.dumps({symbol: index for index, symbol in enumerate(symbols)}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\nF r\n")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps(remote))
    text = chat_text(Prompt(system="", preface="", label="Frame{k}: ", separator="\n"), INTERNVL_MARKUP, 2)
    sequence = token_sequence(load_tokenizer(tmp_path, "model"), text, INTERNVL_MARKUP, [3, 3])
    assert len(sequence.visual) == 6
    assert sequence.ids.count(256) == 2  # "Fr" is merged


@pytest.mark.parametrize(
    "change", [{"select_layer": -2}, {"ps_version": "v1"}, {"llm_config": {"architectures": ["X"]}}]
)
def test_a_first_release_with_other_parts_is_refused(kit: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    folder = kit.copy(GENERATIONS[0], tmp_path / "copy", first_release)
    (folder / "config.json").write_text(json.dumps({**first_config(folder), **change}))
    with pytest.raises(ModelError, match="native classes lack"):
        kit.make(GENERATIONS[0], size="tiny", weights=str(folder)).load(kit.llm(1))


def test_a_first_release_without_a_packed_tensor_is_refused(kit: Any, tmp_path: Path) -> None:
    def change(tensors: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in first_release(tensors).items() if k != "vision_model.encoder.layers.2.attn.qkv.bias"}

    folder = kit.copy(GENERATIONS[0], tmp_path / "copy", change)
    (folder / "config.json").write_text(json.dumps(first_config(folder)))
    with pytest.raises(ModelError, match="3 missing"):
        kit.make(GENERATIONS[0], size="tiny", weights=str(folder)).load(kit.llm(1))


def test_generations_have_their_own_language_models(kit: Any) -> None:
    kinds = [type(kit.loaded(name, *kit.llm(3)).network.language_model).__name__ for name in GENERATIONS]
    assert kinds == ["Qwen2Model", "Qwen3Model"]


def test_the_older_generation_equals_the_library_too(kit: Any) -> None:
    states, _ = kit.library(GENERATIONS[0]).hidden_states()
    maps = kit.run(kit.loaded(GENERATIONS[0], *kit.llm(2, 5)), kit.clip())
    assert torch.equal(maps["llm.b2"][0], states[2])
    assert torch.equal(maps["llm.b5"][0], states[5])


def test_the_system_message_of_the_first_release_is_read(kit: Any) -> None:
    for name in GENERATIONS:
        prompt = kit.make(name).prompt
        assert prompt.system.startswith("你是书生·万象")
        assert (prompt.preface, prompt.label, prompt.separator) == ("", "Frame{k}: ", "\n")
