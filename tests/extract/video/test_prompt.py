"""The text that video models are given: empty as published, or the user's, in tokens of the model's own tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import ConfigError, ModelError
from configs.identity import digest
from extract.adapter import Variant
from extract.families import build_adapter
from extract.model import load_model
from extract.video import prompt
from extract.weights.parts import WeightSource
from tests.extract.pictures import clip, make, run, taps

TEXT = "a room"
NAMES = ["wan-t2v-1.3b", "cogvideox-t2v-2b", "aether", "opensora"]


def text_of(adapter: Any) -> Mapping[str, torch.Tensor]:
    adapter.load(taps(adapter, (1,)))
    found: Mapping[str, torch.Tensor] = adapter.network.text
    return found


@pytest.mark.parametrize("name", NAMES)
def test_a_prompt_changes_text_features_and_fingerprint(name: str, tiny_cache: str) -> None:
    empty, given, other = (make(name, tiny_cache, prompt=text) for text in ("", TEXT, "a street"))
    assert [each.identity()["prompt"] for each in (empty, given, other)] == ["", TEXT, "a street"]
    assert len({digest(each.identity()) for each in (empty, given, other)}) == 3
    texts = [text_of(each) for each in (empty, given, other)]
    for key in texts[0]:
        assert texts[0][key].shape == texts[1][key].shape
        assert not torch.equal(texts[0][key], texts[1][key]) and not torch.equal(texts[1][key], texts[2][key])
    plain, told = (run(each, [clip(each)]) for each in (empty, given))
    (key,) = plain
    assert not torch.allclose(plain[key], told[key], rtol=1e-3)


def test_rows_behind_the_text_are_zero_where_the_encoder_masks(tiny_cache: str) -> None:
    found = text_of(make("wan-t2v-1.3b", tiny_cache, prompt=TEXT))["text"]
    filled = found[0].abs().sum(-1) > 0
    assert filled.tolist() == [
        place < len(TEXT) + 1 for place in range(found.shape[1])
    ]  # a byte is a token, and the end


def test_a_text_that_is_too_long_is_refused(tiny_cache: str) -> None:
    adapter = make("wan-t2v-1.3b", tiny_cache, prompt="x" * 15)
    adapter.load(taps(adapter, (1,)))
    with pytest.raises(ConfigError, match="the prompt is too long") as caught:
        text_of(make("wan-t2v-1.3b", tiny_cache, prompt="x" * 16))
    assert (caught.value.expected, caught.value.found) == ("at most 15 tokens", 16)


def test_untrained_weights_at_full_size_draw_a_text_of_their_own() -> None:
    source = WeightSource({}, drawn={"random": "library"})
    size: dict[str, Any] = {"length": 8, "width": 4, "masked": True, "dtype": "float32"}
    empty, given = (
        prompt.embedded_prompt(None, source, "text_encoder", Variant(prompt=text), **size) for text in ("", TEXT)
    )
    assert [int((each[0].abs().sum(-1) > 0).sum()) for each in (empty, given)] == [1, 3]
    assert not torch.equal(empty[0, 0], given[0, 0])


class Encoder:
    """Answers with the ids that it is given, as float."""

    class config:
        vocab_size = 300

    def __init__(self) -> None:
        self.pooler_output = self.last_hidden_state = torch.empty(0)

    def __call__(self, ids: torch.Tensor, mask: Any = None) -> Encoder:
        self.last_hidden_state = ids[..., None].float()
        self.pooler_output = ids.float()
        return self


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WeightSource:
    """Folders of text encoders that are not an untrained twin's, with a stand-in for the networks."""
    for part in ("text_encoder", "text_encoder_2"):
        (tmp_path / part).mkdir()
    monkeypatch.setattr(prompt, "load_library_model", lambda *args, **options: Encoder())
    folders = {part: tmp_path / part for part in ("text_encoder", "text_encoder_2")}
    return WeightSource(folders, {"main": tmp_path}, again="get it again")


def embedded(source: WeightSource, text: str) -> list[int]:
    found = prompt.embedded_prompt(
        None, source, "text_encoder", Variant(prompt=text), length=12, width=1, masked=False, dtype="float32"
    )
    return [int(value) for value in found.flatten()]


def pooled(source: WeightSource, text: str) -> list[int]:
    found = prompt.pooled_prompt(None, source, "text_encoder_2", Variant(prompt=text), length=10, width=1)
    return [int(value) for value in found.flatten()]


def test_the_empty_prompt_needs_no_tokenizer(trained: WeightSource) -> None:
    assert embedded(trained, "") == [1, *[0] * 11]
    assert pooled(trained, "") == [298, *[299] * 9]


def test_a_prompt_needs_the_tokenizer(trained: WeightSource) -> None:
    with pytest.raises(ModelError, match=r"the tokenizer of the text_encoder is missing") as caught:
        embedded(trained, TEXT)
    assert caught.value.fix == "get it again"


@pytest.mark.parametrize("inside", [False, True])
def test_a_prompt_is_cut_by_the_models_own_tokenizer(trained: WeightSource, inside: bool) -> None:
    """It lies beside the encoder in the layout of diffusers, in its folder for Open-Sora."""
    from extract.vlm.text import QWEN_MARKUP
    from extract.vlm.twin import byte_tokenizer

    for part in ("text_encoder", "text_encoder_2"):
        folder = trained.folders[part]
        place = folder if inside else folder.with_name(part.replace("text_encoder", "tokenizer"))
        byte_tokenizer(QWEN_MARKUP).save_pretrained(place)
    ids = byte_tokenizer(QWEN_MARKUP).encode(TEXT, add_special_tokens=False)
    assert embedded(trained, TEXT) == [*ids, 1, *[0] * (11 - len(ids))]
    assert pooled(trained, TEXT) == [298, *ids, *[299] * (9 - len(ids))]
    assert pooled(trained, "x" * 50)[-1] == 299  # cut off, as the model's own code does it


def test_a_snapshot_of_the_twin_without_tokenizer_is_refused_only_with_a_prompt(
    tiny_cache: str, tmp_path: Path
) -> None:
    from extract.video.wan import tiny
    from extract.video.wan.adapter import build

    model = tiny.shrink(load_model("wan-t2v-1.3b"))
    twin: Any = make("wan-t2v-1.3b", tiny_cache)
    shutil.copytree(twin.source.folders["vae"].parent, tmp_path / "copy")
    plain = build(model, Variant(weights=str(tmp_path / "copy")))
    plain.load(taps(plain, (1,)))
    asked = build(model, Variant(weights=str(tmp_path / "copy"), prompt=TEXT))
    with pytest.raises(ModelError, match="copy of the whole repository"):
        asked.load(taps(asked, (1,)))
    assert (
        build_adapter(load_model("wan-t2v-1.3b"), Variant(weights="random", prompt=TEXT)).identity()["prompt"] == TEXT
    )
