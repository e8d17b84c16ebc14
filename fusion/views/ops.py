"""What is done to the cells of one branch, in this order: resample to the grid, normalise, project."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch


def resample(features: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Bring token maps to a grid.

    An axis that shrinks is averaged by adaptive average pooling (the published protocol's only resize), one that
    grows is interpolated linearly between cell centres.

    Args:
        features: (n, h, w, C), any floating dtype.
        grid: (H, W).

    Returns:
        (n, H, W, C): `features` itself if it has the grid, else float32, contiguous.
    """
    height, width = features.shape[1:3]
    if (height, width) == tuple(grid):
        return features
    from torch.nn import functional as F

    maps = features.permute(0, 3, 1, 2).float()
    coarse = (min(height, grid[0]), min(width, grid[1]))
    if coarse != (height, width):
        maps = F.adaptive_avg_pool2d(maps, coarse)
    if coarse != tuple(grid):
        maps = F.interpolate(maps, size=tuple(grid), mode="bilinear", align_corners=False)
    return maps.permute(0, 2, 3, 1).contiguous()


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


class Projection:
    """x @ matrix - offset.

    Args:
        matrix: (C, width) float32.
        offset: (width,) float32; None for 0.
    """

    def __init__(self, matrix: torch.Tensor, offset: torch.Tensor | None = None) -> None:
        self.matrix, self.offset = matrix, offset

    @property
    def width(self) -> int:
        """Channels after the projection."""
        return self.matrix.shape[1]

    def __call__(self, cells: torch.Tensor) -> torch.Tensor:
        """Map cells (n, C) float32 to (n, width) float32."""
        import torch

        with torch.autocast(cells.device.type, enabled=False):
            self.matrix = self.matrix.to(cells.device)
            found = cells @ self.matrix
            if self.offset is not None:
                self.offset = self.offset.to(cells.device)
                found -= self.offset
            return found


def random_projection(channels: int, width: int, seed: int) -> Projection:
    """Return a Gaussian projection that keeps the mean square of unit-variance channels (Johnson and Lindenstrauss).

    Args:
        channels: width of the branch.
        width: width asked for, smaller or larger.
        seed: draws the matrix, together with both widths.
    """
    import torch

    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, channels, width])))
    matrix = generator.standard_normal((channels, width), dtype=np.float32)
    matrix /= np.float32(np.sqrt(channels))
    return Projection(torch.from_numpy(matrix))
