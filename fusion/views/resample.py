"""From one grid of cells to another: averages where it gets coarser, bilinear where it gets finer."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
