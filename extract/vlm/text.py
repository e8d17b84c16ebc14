"""The text around the images of a vision-language model, and where in the token sequence its visual tokens lie.

The chat markup is written here and not taken from a checkpoint's template: the text before an image changes its
features (attention is causal), so it must not depend on which packaging of a checkpoint is at hand. Nothing after the
last image can change them, so the sequence ends there: the published question and answer turn are left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from configs import commands
from configs.errors import ConfigError, ModelError
from extract.weights.checkpoint import explained


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What a model reads besides the images.

    Attributes:
        system: the system message; empty leaves out the system turn.
        preface: the line before the first image, without its line end; empty for none.
        label: text before each image, `{k}` stands for its number from 1.
        separator: text between two images.
    """

    system: str
    preface: str
    label: str
    separator: str


@dataclass(frozen=True, kw_only=True)
class Markup:
    """Special tokens that wrap an image.

    Attributes:
        start, image, end: around and at the place of the visual tokens.
    """

    start: str
    image: str
    end: str


QWEN_MARKUP = Markup(start="<|vision_start|>", image="<|image_pad|>", end="<|vision_end|>")
INTERNVL_MARKUP = Markup(start="<img>", image="<IMG_CONTEXT>", end="</img>")


class Tokenizer(Protocol):
    """The two calls that are needed of any tokenizer of transformers."""

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        """Return the ids of a text."""

    def convert_tokens_to_ids(self, tokens: str) -> Any:
        """Return the id of one token."""


@dataclass(frozen=True, kw_only=True)
class TokenSequence:
    """One clip's token ids; the same for every clip, because prompt and grid are.

    Attributes:
        ids: (L,) ids with one image id per visual token.
        visual: (images * tokens,) positions of the visual tokens, in the order of the images, row-major in each.
    """

    ids: tuple[int, ...]
    visual: tuple[int, ...]


def read_prompt(settings: Mapping[str, Any], model: str) -> Prompt:
    """Return the prompt that a model's file states under `settings.prompt`.

    Raises:
        ConfigError: a part is missing, unknown or not text.
    """
    parts = settings.get("prompt")
    names = [field.name for field in fields(Prompt)]
    found = parts if isinstance(parts, Mapping) else {}
    if set(found) != set(names) or not all(isinstance(part, str) for part in found.values()):
        raise ConfigError(
            f"settings.prompt of {model} must be texts of four kinds", expected=", ".join(names), found=parts
        )
    return Prompt(**found)


def chat_text(prompt: Prompt, markup: Markup, images: int) -> str:
    """Return the chat, in the format of Qwen and InternVL, up to the last image, with one placeholder per image."""
    system = f"<|im_start|>system\n{prompt.system}<|im_end|>\n" if prompt.system else ""
    preface = f"{prompt.preface}\n" if prompt.preface else ""
    pictures = (
        prompt.label.replace("{k}", str(number)) + markup.start + markup.image + markup.end
        for number in range(1, images + 1)
    )
    return f"{system}<|im_start|>user\n{preface}" + prompt.separator.join(pictures)


def token_sequence(tokenizer: Tokenizer, text: str, markup: Markup, tokens_per_image: Sequence[int]) -> TokenSequence:
    """Tokenise a text and put `tokens_per_image[i]` image tokens in the place of its i-th placeholder.

    Raises:
        ModelError: the tokenizer doesn't know the special tokens of this family.
    """
    image_id = tokenizer.convert_tokens_to_ids(markup.image)
    ids, visual, counts = list[int](), list[int](), iter(tokens_per_image)
    for token in tokenizer.encode(text, add_special_tokens=False):
        if token != image_id:
            ids.append(token)
            continue
        count = next(counts, 0)
        visual.extend(range(len(ids), len(ids) + count))
        ids.extend([image_id] * count)
    if len(visual) != sum(tokens_per_image):
        raise ModelError(
            "the tokenizer doesn't keep the image placeholders of this family as single tokens",
            expected=f"{len(tokens_per_image)} tokens {markup.image}",
            found=f"places for {len(visual)} of {sum(tokens_per_image)} visual tokens",
            fix="use the tokenizer files of the model's own snapshot",
        )
    return TokenSequence(ids=tuple(ids), visual=tuple(visual))


def load_tokenizer(folder: Path, model: str) -> Tokenizer:
    """Load the tokenizer of a model's snapshot, from local files and without remote code.

    Raises:
        ModelError: the files are missing or unreadable.
    """
    from transformers import AutoTokenizer

    fix = f"fetch the snapshot's tokenizer files again: {commands.extract('download', model=model)}"
    with explained("the tokenizer of the snapshot can't be loaded", folder, fix):
        tokenizer: Tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return tokenizer
