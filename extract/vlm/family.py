"""What a family of vision-language models adds to the code that all of them share: sizes, names, arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from extract.model import ModelConfig
from extract.vlm.text import Markup
from extract.weights.checkpoint import Checkpoint

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Sizes of one model at one size.

    Attributes:
        resize: sizes (height, width) that a frame is squeezed to, in turn.
        grid: (rows, columns) of visual tokens per image.
        blocks: decoder blocks of the whole language model.
        width: channels of its residual stream.
    """

    resize: tuple[tuple[int, int], ...]
    grid: tuple[int, int]
    blocks: int
    width: int


class Family(Protocol):
    """What one family adds."""

    @property
    def name(self) -> str:
        """Name of the family, or of one generation of it, in fingerprints."""

    @property
    def version(self) -> int:
        """Raised when the family's own code would give other values."""

    @property
    def model_types(self) -> tuple[str, ...]:
        """What `model_type` in config.json may be."""

    @property
    def markup(self) -> Markup:
        """Special tokens around an image."""

    @property
    def mean(self) -> tuple[float, float, float]:
        """Mean of the training pixels, on the scale 0..1."""

    @property
    def std(self) -> tuple[float, float, float]:
        """Their standard deviation."""

    def layout(self, model: ModelConfig, *, tiny: bool) -> Layout:
        """Return the sizes of a model."""

    def architecture(self, model: ModelConfig, *, tiny: bool) -> Mapping[str, Any]:
        """Return the constructor arguments of the library's configuration, for untrained weights."""

    def config(self, architecture: Mapping[str, Any], token_id: Callable[[str], int]) -> Any:
        """Make the library's configuration; `token_id` gives the ids of the special tokens."""

    def read_config(self, folder: Path) -> Any:
        """Read the library's configuration from a snapshot."""

    def checkpoint(self, folder: Path) -> Checkpoint:
        """Open the tensors of a snapshot."""

    def rename(self, name: str) -> str:
        """Return the library's name, in the base model, of a tensor of any published layout."""

    def image_arguments(self, images: Tensor) -> dict[str, Tensor]:
        """Turn normalised images (N, 3, H, W) into arguments of the network."""

    def positions(self, network: Any, ids: Tensor, grid: tuple[int, int]) -> Tensor | None:
        """Return the (k, 1, L) position ids of one clip's tokens (1, L); None lets the network count them."""

    def vision_end(self, network: Any) -> nn.Module:
        """Return the module whose output the language model receives."""

    def vision_tokens(self, output: Any) -> Tensor:
        """Return all visual tokens, image by image, row-major, from what that module returns."""
