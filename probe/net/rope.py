"""Rotary position encoding on a 2-D grid (Heo et al. 2024): tables built once from the grid, no look-up at run time."""

from __future__ import annotations

import torch
from torch import Tensor

from configs.errors import ConfigError


def rotary_tables(grid: tuple[int, int], head_dim: int, *, specials: int, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines that rotate the tokens of one view.

    The first half of a head's channels is rotated by the row, the second by the column. Within a half of size `a` the
    bands are `base ** (-2 j / a)`, j = 0 .. a/2-1, and the angles are laid out as [row * f, row * f] (rotate-half
    form). Special tokens come first, at position (0, 0), which leaves them unrotated; patch (r, c) is at (r+1, c+1).

    Args:
        grid: rows and columns of the patch grid.
        head_dim: channels per attention head, a multiple of 4.
        specials: number of tokens before the patches.
        base: largest wavelength divided by 2 pi.

    Returns:
        Two float32 tensors (specials + rows * columns, head_dim).

    Raises:
        ConfigError: `head_dim` isn't a positive multiple of 4, or `base` isn't positive.
    """
    if head_dim <= 0 or head_dim % 4:
        raise ConfigError("wrong channels per head", expected="a positive multiple of 4", found=head_dim)
    if base <= 0:
        raise ConfigError("wrong base of the rotary encoding", expected="above 0", found=base)
    half = head_dim // 2
    bands = base ** (-torch.arange(0, half, 2, dtype=torch.float64, device="cpu") / half)
    rows = torch.arange(1, grid[0] + 1, dtype=torch.float64, device="cpu").repeat_interleave(grid[1])
    columns = torch.arange(1, grid[1] + 1, dtype=torch.float64, device="cpu").repeat(grid[0])
    patches = torch.stack([rows, columns], dim=-1)
    positions = torch.cat([torch.zeros(specials, 2, dtype=torch.float64, device="cpu"), patches])
    angles = (positions[:, :, None] * bands).repeat(1, 1, 2).flatten(1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate queries or keys.

    Args:
        x: (..., tokens, head_dim).
        cosines, sines: (tokens, head_dim) of `rotary_tables`.

    Returns:
        The rotated tensor, same shape.
    """
    first, second = x.reshape(*x.shape[:-1], 2, 2, x.shape[-1] // 4).unbind(-2)
    turned = torch.stack([-second, first], dim=-2).flatten(-3)
    return x * cosines + turned * sines
