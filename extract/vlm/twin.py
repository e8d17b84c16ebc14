"""The tiny twin of a vision-language model: byte tokenizer and snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from extract.model import ModelConfig
from extract.vlm.family import Family
from extract.vlm.text import Markup
from extract.weights.twins import redraw

CHAT_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""Special tokens that all chat models here share; the first pads, the last ends a turn."""


def byte_tokenizer(markup: Markup) -> Any:
    """Build a byte-level BPE tokenizer without merges, as `PreTrainedTokenizerFast`.

    It encodes any text: ids 0 ... 255 are bytes, then come the chat tokens and those of `markup`, in order.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {symbol: index for index, symbol in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [
            AddedToken(token, special=True, normalized=False)
            for token in (*CHAT_TOKENS, markup.start, markup.image, markup.end)
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=CHAT_TOKENS[0], eos_token=CHAT_TOKENS[2], model_max_length=1 << 20
    )


TINY_VERSION = 1
"""Raised when the recipe would give other weights."""


def save_snapshot(family: Family, model: ModelConfig, folder: Path, seed: int) -> None:
    """Write the tiny twin of a model: config.json, model.safetensors (with language head), tokenizer files."""
    from transformers import AutoModelForImageTextToText

    tokenizer = byte_tokenizer(family.markup)
    config = family.config(family.architecture(model, tiny=True), tokenizer.convert_tokens_to_ids)
    network: Any = AutoModelForImageTextToText.from_config(config)
    redraw(network, seed)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
