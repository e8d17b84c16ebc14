"""Normalisations of one branch: float32 cells (n, C) to float32 cells (n, C), each cell by itself."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Normaliser(Protocol):
    """Maps cells (n, C) float32 to cells (n, C) float32, each by itself."""

    def __call__(self, cells: torch.Tensor, /) -> torch.Tensor:
        """Normalise cells."""
        ...


@dataclasses.dataclass(frozen=True)
class LayerNorm:
    """(x - mean) / sqrt(variance + eps) over the channels of each cell: biased variance, no affine (paper)."""

    eps: float

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Normalise cells."""
        from torch.nn import functional as F

        return F.layer_norm(cells, cells.shape[-1:], eps=self.eps)


@dataclasses.dataclass(frozen=True)
class UnitLength:
    """x / |x|, Euclidean; a cell of zeros stays zero."""

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Normalise cells."""
        from torch.nn import functional as F

        return F.normalize(cells, dim=-1)


@dataclasses.dataclass(frozen=True)
class Standardise:
    """(x - mean) / sqrt(variance + eps) per channel, for statistics (C,) of training cells; never of others."""

    mean: torch.Tensor
    variance: torch.Tensor
    eps: float

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Normalise cells."""
        import torch

        centre = self.mean.to(cells.device, torch.float32)
        scale = torch.rsqrt(self.variance.double() + self.eps).to(cells.device, torch.float32)
        return (cells - centre) * scale


@dataclasses.dataclass(frozen=True)
class Unchanged:
    """Leaves cells as they are."""

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Return the cells."""
        return cells
