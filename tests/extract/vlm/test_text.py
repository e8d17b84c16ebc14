"""Chat text and token positions; no network involved."""

from __future__ import annotations

from typing import Any

import pytest

from configs.errors import ConfigError, ModelError
from extract.vlm.text import INTERNVL_MARKUP, QWEN_MARKUP, Prompt, chat_text, read_prompt, token_sequence


def test_chat_text_of_qwen() -> None:
    prompt = Prompt(system="", preface="Frames of a video.", label="Frame{k}: ", separator="\n")
    assert chat_text(prompt, QWEN_MARKUP, 2) == (
        "<|im_start|>user\nFrames of a video.\n"
        "Frame1: <|vision_start|><|image_pad|><|vision_end|>\nFrame2: <|vision_start|><|image_pad|><|vision_end|>"
    )


def test_chat_text_of_internvl() -> None:
    prompt = Prompt(system="Be brief.", preface="", label="Image-{k}: ", separator="\n")
    assert chat_text(prompt, INTERNVL_MARKUP, 1) == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nImage-1: <img><IMG_CONTEXT></img>"
    )


@pytest.mark.parametrize("change", [{"label": None}, {"labels": ""}, {"system": ["a"]}])
def test_an_incomplete_prompt_is_refused(change: dict[str, Any]) -> None:
    settings = {"prompt": {"system": "", "preface": "", "label": "{x} Frame{k}: ", "separator": "", **change}}
    with pytest.raises(ConfigError, match=r"settings\.prompt of m"):
        read_prompt(settings, "m")


@pytest.mark.parametrize(
    ("preface", "question", "lines"),
    [
        ("", "", "Own."),
        ("Mine.", "", "Mine."),
        ("none", "", ""),
        ("", "What is near?", "Own.\nWhat is near?"),
        ("none", "What is near?", "What is near?"),
    ],
)
def test_preface_and_question_come_before_the_first_image(preface: str, question: str, lines: str) -> None:
    settings = {"prompt": {"system": "", "preface": "Own.", "label": "", "separator": ""}}
    prompt = read_prompt(settings, "m", preface=preface, question=question)
    assert prompt.preface == lines
    start = f"<|im_start|>user\n{lines}\n" if lines else "<|im_start|>user\n"
    assert chat_text(prompt, QWEN_MARKUP, 1) == start + "<|vision_start|><|image_pad|><|vision_end|>"


def test_visual_tokens_stand_where_the_placeholders_were() -> None:
    from extract.vlm.twin import byte_tokenizer

    tokenizer = byte_tokenizer(QWEN_MARKUP)
    text = chat_text(Prompt(system="", preface="", label="a", separator="b"), QWEN_MARKUP, 2)
    sequence = token_sequence(tokenizer, text, QWEN_MARKUP, [2, 3])
    image, start, end = (
        tokenizer.convert_tokens_to_ids(t) for t in (QWEN_MARKUP.image, QWEN_MARKUP.start, QWEN_MARKUP.end)
    )
    picture = list(sequence.ids).index(start)
    assert sequence.visual == (picture + 1, picture + 2, *range(picture + 7, picture + 10))
    assert [sequence.ids[place] for place in sequence.visual] == [image] * 5
    assert sequence.ids[picture + 3] == end
    assert tokenizer.decode(sequence.ids) == text.replace(QWEN_MARKUP.image, QWEN_MARKUP.image * 2, 1).replace(
        "b" + "a" + QWEN_MARKUP.start + QWEN_MARKUP.image, "b" + "a" + QWEN_MARKUP.start + QWEN_MARKUP.image * 3
    )


def test_a_tokenizer_of_another_family_is_refused() -> None:
    from extract.vlm.twin import byte_tokenizer

    text = chat_text(Prompt(system="", preface="", label="", separator=""), QWEN_MARKUP, 1)
    with pytest.raises(ModelError, match="placeholders"):
        token_sequence(byte_tokenizer(INTERNVL_MARKUP), text, QWEN_MARKUP, [4])
