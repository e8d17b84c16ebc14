"""SenseNova-SI: InternVL3 and Qwen3-VL trained further, with other prompts; the code is theirs."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from configs.errors import ConfigError
from extract.adapter import Variant
from extract.model import load_model
from extract.vlm.qwen.adapter import build
from extract.vlm.text import chat_text


@pytest.mark.parametrize(
    ("name", "base", "text"),
    [
        ("sensenova-qwen3-vl-8b", "qwen3-vl-8b", "user\n<|vision_start|><|image_pad|><|vision_end|><|vision_start|>"),
        ("sensenova-internvl3-8b", "internvl3-8b", "user\nImage-1: <img><IMG_CONTEXT></img>\nImage-2: <img>"),
    ],
)
def test_only_the_prompt_differs_from_the_base(kit: Any, name: str, base: str, text: str) -> None:
    adapter = kit.make(name, size="tiny", weights=str(kit.snapshot(base)))
    assert text in chat_text(adapter.prompt, adapter.family.markup, 2)
    assert adapter.family == kit.make(base).family
    adapter.load(kit.llm(3))
    maps = kit.run(adapter, kit.clip())["llm.b3"]
    plain = kit.run(kit.loaded(base, *kit.llm(3)), kit.clip())["llm.b3"]
    assert maps.shape == plain.shape
    assert not torch.allclose(maps, plain, rtol=1e-3)


def test_an_unknown_generation_is_refused() -> None:
    model = load_model("sensenova-qwen3-vl-8b")
    model.settings["generation"] = "llava"
    with pytest.raises(ConfigError, match=r"settings\.generation"):
        build(model, Variant())
