"""From a backbone's grid to the probe's grid, on the device, before anything is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def pool_to_grid(features: Tensor, grid: tuple[int, int]) -> Tensor:
    """Average token maps to a coarser grid (adaptive average pooling, published protocol).

    Args:
        features: (..., y, x, C), any float dtype; averaged in float32.
        grid: (rows, columns) asked for; the grid of the features returns them as they are.

    Returns:
        (..., grid[0], grid[1], C) in the dtype of `features`.

    Raises:
        ConfigError: the grid asked for is finer than the features.
    """
    import torch.nn.functional as F

    *lead, height, width, channels = features.shape
    if grid == (height, width):
        return features
    if grid[0] > height or grid[1] > width:
        raise ConfigError(
            "features can only be pooled to a coarser grid",
            expected=f"at most {height}x{width}",
            found=f"{grid[0]}x{grid[1]}",
            fix="choose a smaller grid=, or grid=native",
        )
    flat = features.reshape(-1, height, width, channels).permute(0, 3, 1, 2).float()
    pooled = F.adaptive_avg_pool2d(flat, grid).permute(0, 2, 3, 1)
    return pooled.to(features.dtype).reshape(*lead, *grid, channels)
