"""Snapshots of tiny vision-language models in the files and key layout of published ones."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.tiny.tokenizer import byte_tokenizer
from extract.vlm_weights import initialise

if TYPE_CHECKING:
    from extract.model import ModelConfig
    from extract.vlm import Family


def save_snapshot(family: Family, model: ModelConfig, folder: Path, *, seed: int, spread: bool = False) -> None:
    """Write the tiny twin of a model: config.json, model.safetensors (with language head), tokenizer files.

    Args:
        family: the model's family.
        model: which model; twins differ only between generations of language models.
        folder: where to write.
        seed: of the weights, drawn with the library's own initialisation.
        spread: for tests: draw matrices with unit gain instead, so that successive blocks differ clearly.
    """
    import torch
    from transformers import AutoModelForImageTextToText
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer = byte_tokenizer(family.markup)
    config = family.config(family.architecture(model, tiny=True), tokenizer.convert_tokens_to_ids)
    network: Any = AutoModelForImageTextToText.from_config(config)
    initialise(network, seed, dtype=torch.float32, device="cpu")
    if spread:
        _spread(network, seed)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _spread(network: Any, seed: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(seed)
    for name, parameter in network.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim >= 2:
            fan_in = 1 if "embed_tokens" in name else parameter[0].numel()
            parameter.data = drawn / math.sqrt(fan_in)
        elif "norm" in name and name.endswith("weight"):
            parameter.data = 1 + 0.1 * drawn
        else:
            parameter.data = 0.02 * drawn
