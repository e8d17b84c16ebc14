"""Twelve tileable grey patterns with their mip chains, flattened into one array for fast look-up."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
SIZE = 128
KINDS = (
    "flat", "clouds", "noise", "grain", "checker", "stripes", "bands", "wood", "brick", "dots", "marble", "tiles",
)  # fmt: skip
WALL_KINDS = (1, 2, 5, 8, 11)
FLOOR_KINDS = (3, 4, 7, 11)


class Atlas(NamedTuple):
    """All patterns at all sizes.

    Attributes:
        texels: (N,) float32 in [0, 1]; pattern k of level l is the square that starts at offset[l] + k * size[l]^2.
        offset: (L,) start of each level.
        size: (L,) edge of each level in texels: 128, 64, ..., 4.
    """

    texels: Floats
    offset: NDArray[np.int32]
    size: NDArray[np.int32]


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Return the patterns; the same in every dataset."""
    level = _patterns().astype(np.float32)
    levels = [level]
    while level.shape[1] > 4:
        level = (level[:, ::2, ::2] + level[:, 1::2, ::2] + level[:, ::2, 1::2] + level[:, 1::2, 1::2]) * np.float32(
            0.25
        )
        levels.append(level)
    texels = np.concatenate([item.ravel() for item in levels])
    offset = np.cumsum([0] + [item.size for item in levels[:-1]])
    return Atlas(texels, offset.astype(np.int32), np.array([item.shape[1] for item in levels], np.int32))


def _patterns() -> NDArray[np.float64]:
    """Draw the 12 patterns at full size, (12, 128, 128) in [0, 1]."""
    rng = np.random.Generator(np.random.PCG64(7))
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    clouds, noise, grain = (_tileable_noise(rng, octaves) for octaves in (2, 4, 5))
    row = np.floor(y * 8)
    return np.stack(
        [
            np.full((SIZE, SIZE), 0.5),
            clouds,
            noise,
            grain,
            (np.floor(x * 8) + row) % 2,
            np.floor(x * 8) % 2,
            row % 2,
            0.5 + 0.5 * np.sin(2 * np.pi * (4 * x + 0.5 * noise)),
            1.0 - (((y * 8) % 1 < 0.12) | (((x * 4 + 0.5 * (row % 2)) % 1) < 0.06)),
            ((x * 8 % 1 - 0.5) ** 2 + (y * 8 % 1 - 0.5) ** 2 < 0.09) * 1.0,
            np.clip(0.5 + 0.5 * np.sin(2 * np.pi * (2 * x + 2 * grain)), 0, 1) ** 2,
            1.0 - (((y * 4) % 1 < 0.04) | ((x * 4) % 1 < 0.04)),
        ]
    )


def _tileable_noise(rng: np.random.Generator, octaves: int) -> NDArray[np.float64]:
    """Return smooth value noise that repeats at its edges, (128, 128) in [0, 1]."""
    total = np.zeros((SIZE, SIZE))
    for octave in range(octaves):
        cells = min(SIZE, 4 * 2**octave)
        grid = rng.random((cells, cells))
        at = np.arange(SIZE) * cells / SIZE
        low = at.astype(int)
        high = (low + 1) % cells
        t = at - low
        t = t * t * (3 - 2 * t)
        upper = grid[low][:, low] * (1 - t) + grid[low][:, high] * t
        lower = grid[high][:, low] * (1 - t) + grid[high][:, high] * t
        total += 0.5**octave * (upper * (1 - t)[:, None] + lower * t[:, None])
    return np.asarray((total - total.min()) / (total.max() - total.min()))
