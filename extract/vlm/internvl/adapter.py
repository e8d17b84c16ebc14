"""InternVL3 and InternVL3.5: the 20 query frames as 20 images of one chat turn; features at the visual tokens.

Every frame is squeezed to one 448x448 tile (Pillow's bicubic filter, no thumbnail); the vision tower's 32x32 patches
are merged 2x2, so a map is 16x16 (published protocol). Block k is the output of decoder layer k, which transformers
calls `hidden_states[k]`, except for the last one, whose entry there is normalised and whose map here is not.

Snapshots of the native layout (`-hf`) and of the first release are both read, without the latter's own code. The
system message is the one of the first release, as in the published protocol, for both layouts of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extract.adapter import Variant
from extract.model import ModelConfig
from extract.vlm.base import VisionLanguageAdapter
from extract.vlm.family import Layout
from extract.vlm.internvl import original
from extract.vlm.internvl.tiny import TILE, internvl
from extract.vlm.text import INTERNVL_MARKUP, Markup
from extract.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn

PIXELS_PER_TOKEN = 28
"""Side of a visual token: patches of 14 pixels, merged 2x2."""


@dataclass(frozen=True, kw_only=True)
class InternVLFamily:
    """See `extract.vlm.base.Family`."""

    name: str = "internvl"
    version: int = 1
    model_types: tuple[str, ...] = ("internvl", "internvl_chat")
    markup: Markup = INTERNVL_MARKUP
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    def layout(self, model: ModelConfig, *, tiny: bool) -> Layout:
        """See `Family.layout`."""
        side = TILE if tiny else model.input_size[0]
        grid = (side // PIXELS_PER_TOKEN, side // PIXELS_PER_TOKEN)
        text = self.architecture(model, tiny=tiny)["text"]
        blocks, width = (text["num_hidden_layers"], text["hidden_size"]) if tiny else (model.blocks, model.width)
        return Layout(resize=((side, side),), grid=grid, blocks=blocks, width=width)

    def architecture(self, model: ModelConfig, *, tiny: bool) -> Mapping[str, Any]:
        """See `Family.architecture`; the language model is a Qwen2 (InternVL3) or a Qwen3 (InternVL3.5)."""
        return internvl(model.architecture["text"]["model_type"]) if tiny else model.architecture

    def config(self, architecture: Mapping[str, Any], token_id: Callable[[str], int]) -> Any:
        """See `Family.config`."""
        from transformers import InternVLConfig

        side = architecture["vision"]["image_size"][0] // PIXELS_PER_TOKEN
        return InternVLConfig(
            text_config=dict(architecture["text"]),
            vision_config=dict(architecture["vision"]),
            image_token_id=token_id(self.markup.image),
            image_seq_length=side * side,
            tie_word_embeddings=False,
        )

    def read_config(self, folder: Path) -> Any:
        """See `Family.read_config`."""
        from transformers import InternVLConfig

        if original.is_original(folder):
            return original.read_config(folder)
        return InternVLConfig.from_pretrained(folder, local_files_only=True)

    def checkpoint(self, folder: Path) -> Checkpoint:
        """See `Family.checkpoint`."""
        return original.OriginalCheckpoint(folder) if original.is_original(folder) else Checkpoint(folder)

    def rename(self, name: str) -> str:
        """Map three published layouts: `model.*`, its forerunner without that prefix, and the first release."""
        name = original.rename(name).removeprefix("model.")
        if name.startswith("language_model.lm_head."):
            return name.removeprefix("language_model.")
        return name.replace("language_model.model.", "language_model.", 1)

    def image_arguments(self, images: Tensor) -> dict[str, Tensor]:
        """See `Family.image_arguments`."""
        return {"pixel_values": images.contiguous()}

    def positions(self, network: Any, ids: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """None: tokens are counted one by one."""
        return None

    def vision_end(self, network: Any) -> nn.Module:
        """See `Family.vision_end`."""
        projector: nn.Module = network.multi_modal_projector
        return projector

    def vision_tokens(self, output: Any) -> Tensor:
        """See `Family.vision_tokens`."""
        tokens: Tensor = output
        return tokens


def build(model: ModelConfig, variant: Variant) -> VisionLanguageAdapter:
    """Make the adapter of one InternVL; see `extract.adapter.Build`."""
    return VisionLanguageAdapter(model, variant, InternVLFamily())
