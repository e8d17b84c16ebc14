"""The embedding of the empty prompt: computed once, kept in a small file, the text encoder freed or never loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.format.spec import torch_dtype
from extract.noise import gaussian
from extract.video.kept import kept
from extract.weights.libraries import load_library_model
from extract.weights.parts import WeightSource

if TYPE_CHECKING:
    from torch import Tensor


def empty_prompt(
    encoder: Any,
    source: WeightSource,
    part: str,
    *,
    length: int,
    width: int,
    masked: bool,
    dtype: str,
    cache: str | None,
) -> Tensor:
    """Return the embedding of "" by a T5-like encoder: (1, length, width) float32 on the CPU.

    No tokenizer is needed: the empty prompt is the end token 1 followed by padding 0.

    Args:
        encoder: class of the text encoder (`T5EncoderModel`, `UMT5EncoderModel`).
        source: where the weights are; with random weights at full size the embedding is drawn from their seed.
        part: folder of the encoder.
        length: number of tokens the transformer is given.
        width: channels of a token.
        masked: whether the encoder sees the padding mask and the rows of the padding are set to zero (Wan), or
            everything is encoded alike (CogVideoX, Open-Sora).
        dtype: dtype of the encoder's arithmetic; the large ones take 26 GB in float32.
        cache: folder to keep the result in; None keeps nothing.
    """
    import torch

    if part not in source.folders:
        drawn = gaussian((1, length, width), source.seed, "prompt", part)
        if masked:
            drawn[:, 1:] = 0
        return drawn

    def compute() -> Tensor:
        ids = torch.zeros(1, length, dtype=torch.long)
        ids[0, 0] = 1
        mask = (torch.arange(length) < 1).long()[None]
        model = load_library_model(encoder, source.folders[part], dtype=torch_dtype(dtype))
        with torch.inference_mode():
            states: Tensor = model(ids, mask if masked else None).last_hidden_state
            kept_rows: Tensor = states * mask[..., None] if masked else states
            return kept_rows.float().clone()

    known = {"weights": source.identity, "part": part, "length": length, "masked": masked, "dtype": dtype}
    return kept(_folder(cache), known, compute)


def empty_prompt_pooled(
    encoder: Any, source: WeightSource, part: str, *, length: int, width: int, cache: str | None
) -> Tensor:
    """Return the pooled embedding of "" by a CLIP text encoder: (1, width) float32 on the CPU.

    The empty prompt is the start token followed by end tokens, the last two entries of CLIP's vocabulary.
    """
    import torch

    if part not in source.folders:
        return gaussian((1, width), source.seed, "prompt", part)

    def compute() -> Tensor:
        model = load_library_model(encoder, source.folders[part])
        end = int(model.config.vocab_size) - 1
        ids = torch.full((1, length), end)
        ids[0, 0] = end - 1
        with torch.inference_mode():
            pooled: Tensor = model(ids).pooler_output
            return pooled.float().clone()

    return kept(_folder(cache), {"weights": source.identity, "part": part, "length": length, "pooled": True}, compute)


def _folder(cache: str | None) -> Path | None:
    return Path(cache) / "prompts" if cache else None
