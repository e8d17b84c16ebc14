"""Qwen2.5-VL and Qwen3-VL: the 20 query frames as 20 images of one chat turn; features at the visual tokens.

Frames are squeezed to 960x540 and then to multiples of a visual token: 28 pixels for Qwen2.5-VL (952x532, a map of
19x34 at full size), 32 for Qwen3-VL (960x544, 17x30). Published protocol: images one by one, no merging in time,
Pillow's bicubic filter.

Block k is the output of decoder layer k, which transformers calls `hidden_states[k]`, except for the last one, whose
entry there is normalised and whose map here is not. The DeepStack of Qwen3-VL adds features of the vision tower to the
visual tokens *after* layers 1, 2 and 3. As in the published protocol, the maps of these blocks are the layers' own
outputs, before that addition, which is part of what the next block starts from.

The time axis of Qwen2.5-VL's positions is the place of the image in the sequence; one release of transformers (5.3)
multiplied it by two for images, so features made with it differ.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import ConfigError
from extract.adapter import Variant
from extract.frames import SLOTS
from extract.model import ModelConfig
from extract.vlm.base import VisionLanguageAdapter
from extract.vlm.family import Layout
from extract.vlm.preprocess import patchify, smart_resize
from extract.vlm.qwen.tiny import QWEN2_5_VL, QWEN3_VL, TARGET
from extract.vlm.text import QWEN_MARKUP, Markup
from extract.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

MERGE = 2
"""Patches per side of a visual token."""

TEMPORAL = 2
"""Frames per patch in time; a still image fills them with copies of itself, so time is never merged."""


def build(model: ModelConfig, variant: Variant) -> VisionLanguageAdapter:
    """Make the adapter of one model; `settings.generation` of its YAML names the generation.

    Raises:
        ConfigError: it doesn't name a generation.
    """
    generation = model.settings.get("generation")
    if generation not in GENERATIONS:
        raise ConfigError(
            f"settings.generation of {model.name} must name a generation of Qwen-VL",
            expected=" or ".join(GENERATIONS),
            found=generation,
        )
    return VisionLanguageAdapter(model, variant, GENERATIONS[generation])


@dataclass(frozen=True, kw_only=True)
class QwenFamily:
    """One generation of Qwen-VL; see `extract.vlm.base.Family`.

    Attributes:
        name: in fingerprints.
        model_types: its name in config.json.
        config_class: name of its configuration class in transformers.
        patch: side of a vision patch in pixels.
        tiny_architecture: constructor arguments of its tiny twin.
    """

    name: str
    version: int
    model_types: tuple[str, ...]
    config_class: str
    patch: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tiny_architecture: Mapping[str, Any]
    markup: Markup = QWEN_MARKUP

    def layout(self, model: ModelConfig, *, tiny: bool) -> Layout:
        """Squeeze to a fixed size first, then to multiples of a visual token within the per-image pixel budget.

        Raises:
            ConfigError: the grid that results is not the one that the model's file states.
        """
        factor = self.patch * MERGE
        target = TARGET if tiny else tuple(model.settings["target_size"])
        low, high = model.settings["pixel_budget"]
        size = smart_resize(target[0], target[1], factor=factor, min_pixels=low, max_pixels=high)
        grid = (size[0] // factor, size[1] // factor)
        if not tiny and (list(size), list(grid)) != (list(model.input_size), list(model.grid)):
            raise ConfigError(
                f"the pixel budget of {model.name} leads to another token grid than its file states",
                expected=f"{model.input_size} pixels, grid {model.grid}",
                found=f"{list(size)} pixels, grid {list(grid)}",
                fix="set settings.target_size and settings.pixel_budget back, or state the new input_size and grid",
            )
        text = self.tiny_architecture["text"]
        blocks, width = (text["num_hidden_layers"], text["hidden_size"]) if tiny else (model.blocks, model.width)
        return Layout(resize=((target[0], target[1]), size), grid=grid, blocks=blocks, width=width)

    def architecture(self, model: ModelConfig, *, tiny: bool) -> Mapping[str, Any]:
        """See `Family.architecture`."""
        return self.tiny_architecture if tiny else model.architecture

    def config(self, architecture: Mapping[str, Any], token_id: Callable[[str], int]) -> Any:
        """See `Family.config`."""
        import transformers

        return getattr(transformers, self.config_class)(
            text_config=dict(architecture["text"]),
            vision_config=dict(architecture["vision"]),
            image_token_id=token_id(self.markup.image),
            vision_start_token_id=token_id(self.markup.start),
            vision_end_token_id=token_id(self.markup.end),
            tie_word_embeddings=False,
        )

    def read_config(self, folder: Path) -> Any:
        """See `Family.read_config`."""
        import transformers

        return getattr(transformers, self.config_class).from_pretrained(folder, local_files_only=True)

    def checkpoint(self, folder: Path) -> Checkpoint:
        """See `Family.checkpoint`."""
        return Checkpoint(folder)

    def rename(self, name: str) -> str:
        """Map both published layouts: `model.visual.*` + `model.language_model.*`, and `visual.*` + `model.*`."""
        if name.startswith(("visual.", "lm_head.")):
            return name
        name = name.removeprefix("model.")
        return name if name.startswith(("visual.", "language_model.")) else "language_model." + name

    def image_arguments(self, images: Tensor) -> dict[str, Tensor]:
        """See `Family.image_arguments`."""
        import torch

        count, _, height, width = images.shape
        grid = torch.tensor([[1, height // self.patch, width // self.patch]], device=images.device)
        return {
            "pixel_values": patchify(images, patch=self.patch, merge=MERGE, temporal=TEMPORAL),
            "image_grid_thw": grid.expand(count, -1),
        }

    def positions(self, network: Any, ids: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """Time, row and column of every token; without them these networks would fall back to plain counting."""
        import torch

        patches = torch.tensor([[1, grid[0] * MERGE, grid[1] * MERGE]], device=ids.device).expand(SLOTS, -1)
        kinds = (ids == network.config.image_token_id).int()
        positions: Tensor = network.get_rope_index(input_ids=ids, mm_token_type_ids=kinds, image_grid_thw=patches)[0]
        return positions

    def vision_end(self, network: Any) -> nn.Module:
        """See `Family.vision_end`."""
        tower: nn.Module = network.visual
        return tower

    def vision_tokens(self, output: Any) -> Tensor:
        """See `Family.vision_tokens`; features that Qwen3-VL adds in deeper blocks (DeepStack) are not part of it."""
        tokens: Tensor = output.pooler_output
        return tokens


_FAMILIES = (
    QwenFamily(
        name="qwen2_5_vl",
        version=1,
        model_types=("qwen2_5_vl",),
        config_class="Qwen2_5_VLConfig",
        patch=14,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        tiny_architecture=QWEN2_5_VL,
    ),
    QwenFamily(
        name="qwen3_vl",
        version=1,
        model_types=("qwen3_vl",),
        config_class="Qwen3VLConfig",
        patch=16,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        tiny_architecture=QWEN3_VL,
    ),
)
GENERATIONS = {family.name: family for family in _FAMILIES}
