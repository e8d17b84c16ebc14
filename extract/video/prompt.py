"""The embedding of the prompt, by default the empty one: computed once and kept, the text encoder freed or not loaded.

Every clip gets the same text, and classifier-free guidance is off.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.format.spec import torch_dtype
from configs.errors import ConfigError, ModelError
from extract.adapter import Variant
from extract.noise import gaussian
from extract.video.kept import kept
from extract.weights.libraries import load_library_model, load_tokenizer
from extract.weights.parts import WeightSource

if TYPE_CHECKING:
    from torch import Tensor

PAD, END = 0, 1
"""Tokens of T5 that fill up and end a text, known without a tokenizer."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "spiece.model", "vocab.json")


def embedded_prompt(
    encoder: Any,
    source: WeightSource,
    part: str,
    variant: Variant,
    *,
    length: int,
    width: int,
    masked: bool,
    dtype: str,
) -> Tensor:
    """Return the embedding of the prompt by a T5-like encoder: (1, length, width) float32 on the CPU.

    No tokenizer is needed for the empty prompt: it is the end token followed by padding. An untrained twin has no
    tokenizer; there a byte is a token.

    Args:
        encoder: class of the text encoder (`T5EncoderModel`, `UMT5EncoderModel`).
        source: where the weights are; with random weights at full size the embedding is drawn from their seed.
        part: folder of the encoder.
        variant: gives the text, and the folder in which the result is kept.
        length: number of tokens the transformer is given.
        width: channels of a token.
        masked: whether the encoder sees the padding mask and the rows of the padding are set to zero (Wan), or
            everything is encoded alike (CogVideoX, Open-Sora).
        dtype: dtype of the encoder's arithmetic; the large ones take 26 GB in float32.

    Raises:
        ConfigError: the text is longer than `length`.
        ModelError: encoder or tokenizer are missing or broken.
    """
    import torch

    text = variant.prompt
    if part not in source.folders:
        drawn = gaussian((1, length, width), source.seed, "prompt", f"{part}/{text}" if text else part)
        if masked:
            drawn[:, min(length, len(text.split()) + 1) :] = 0
        return drawn

    def compute() -> Tensor:
        model = load_library_model(encoder, source.folders[part], dtype=torch_dtype(dtype))
        tokens = [*_tokens(source, part, text, int(model.config.vocab_size), special=END + 1), END]
        if len(tokens) > length:
            raise ConfigError(
                "the prompt is too long for this model",
                expected=f"at most {length - 1} tokens",
                found=len(tokens) - 1,
                fix="shorten prompt=",
            )
        ids = torch.tensor([tokens + [PAD] * (length - len(tokens))])
        mask = (torch.arange(length) < len(tokens)).long()[None]
        with torch.inference_mode():
            states: Tensor = model(ids, mask if masked else None).last_hidden_state
            kept_rows: Tensor = states * mask[..., None] if masked else states
            return kept_rows.float().clone()

    known = {"weights": source.identity, "part": part, "length": length, "masked": masked, "dtype": dtype, "text": text}
    return kept(_folder(variant), known, compute)


def pooled_prompt(
    encoder: Any, source: WeightSource, part: str, variant: Variant, *, length: int, width: int
) -> Tensor:
    """Return the pooled embedding of the prompt by a CLIP text encoder: (1, width) float32 on the CPU.

    A text is framed by the start and the end token, the last two entries of CLIP's vocabulary; end tokens follow. What
    doesn't fit into `length` tokens is cut off, as the model's own code does it.

    Raises:
        ModelError: encoder or tokenizer are missing or broken.
    """
    import torch

    text, dtype = variant.prompt, variant.dtype
    if part not in source.folders:
        return gaussian((1, width), source.seed, "prompt", f"{part}/{text}" if text else part)

    def compute() -> Tensor:
        options = {} if dtype == "auto" else {"dtype": torch_dtype(dtype)}
        model = load_library_model(encoder, source.folders[part], **options)
        end = int(model.config.vocab_size) - 1
        tokens = _tokens(source, part, text, end - 1, special=0)[: length - 2]
        ids = torch.tensor([[end - 1, *tokens] + [end] * (length - 1 - len(tokens))])
        with torch.inference_mode():
            pooled: Tensor = model(ids).pooler_output
            return pooled.float().clone()

    known = {"weights": source.identity, "part": part, "length": length, "pooled": True, "dtype": dtype, "text": text}
    return kept(_folder(variant), known, compute)


def _tokens(source: WeightSource, part: str, text: str, vocabulary: int, special: int) -> Sequence[int]:
    """Return the tokens of a text without special ones; of an untrained twin one per byte, after `special` others."""
    if not text:
        return []
    if source.drawn:
        return [special + byte % (vocabulary - special) for byte in text.encode()]
    folder = source.folders[part]
    beside = folder.with_name(part.replace("text_encoder", "tokenizer"))
    places = [place for place in (folder, beside) if any((place / name).is_file() for name in TOKENIZER_FILES)]
    fix = source.again or "weights= must be a copy of the whole repository"
    if not places:
        raise ModelError(
            f"the tokenizer of the {part} is missing, which prompt= needs",
            where=folder.parent,
            expected=f"{folder.name} or {beside.name} with one of {', '.join(TOKENIZER_FILES)}",
            found="neither",
            fix=fix,
        )
    return load_tokenizer(places[0], fix).encode(text, add_special_tokens=False)


def _folder(variant: Variant) -> Path | None:
    return Path(variant.cache) / "prompts" if variant.cache else None
