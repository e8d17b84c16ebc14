"""Snapshots of tiny vision-language models in the files and key layout of published ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.vlm.tokenizer import byte_tokenizer
from extract.weights.twins import redraw

if TYPE_CHECKING:
    from extract.model import ModelConfig
    from extract.vlm.family import Family

VERSION = 1
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
