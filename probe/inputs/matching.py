"""Features brought to a common token grid and width as they are read, so that models compare at equal budgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from configs.errors import ConfigError
from probe.config import MatchOptions

CLIPS = 64
CELLS = 256
"""The projection is fitted on at most this many training clips, and on this many cells of each."""


class Match(nn.Module):
    """Average pooling to a grid and a fixed projection to a width; either may be absent. Nothing is trainable.

    Args:
        grid: rows and columns to pool to; None keeps the grid.
        mean: (C,) subtracted before projecting; None for no projection.
        matrix: (C, width) orthonormal columns.
    """

    mean: Tensor | None
    matrix: Tensor | None

    def __init__(self, grid: tuple[int, int] | None, mean: Tensor | None = None, matrix: Tensor | None = None) -> None:
        super().__init__()
        self.grid = grid
        self.register_buffer("mean", mean)
        self.register_buffer("matrix", matrix)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, V, h, w, C) to (B, V, h', w', C')."""
        if self.grid is not None and tuple(features.shape[2:4]) != self.grid:
            flat = features.flatten(0, 1).permute(0, 3, 1, 2).float()
            pooled = F.adaptive_avg_pool2d(flat, self.grid).permute(0, 2, 3, 1)
            features = pooled.view(*features.shape[:2], *pooled.shape[1:])
        if self.mean is not None and self.matrix is not None:
            with torch.autocast(features.device.type, enabled=False):
                features = (features.float() - self.mean) @ self.matrix
        return features


def build_match(options: MatchOptions, store: FeatureSource, array: ArraySpec, train: Sequence[str]) -> Match | None:
    """Return the transformation that `match.*` asks for, None if the features are left as they are.

    Raises:
        ConfigError: a grid finer or a width greater than the store's, or too few cells for the width.
    """
    grid = (int(options.grid[0]), int(options.grid[1])) if options.grid else None
    if grid and (grid[0] > array.grid[0] or grid[1] > array.grid[1]):
        raise ConfigError(
            "features can be averaged to fewer cells, not spread to more",
            expected=f"at most {array.grid[0]}x{array.grid[1]}",
            found=f"match.grid={grid[0]},{grid[1]}",
            where=array.name,
        )
    if options.width > array.channels:
        raise ConfigError(
            "features can't be projected to more channels than they have",
            expected=f"at most {array.channels}",
            found=f"match.width={options.width}",
            where=array.name,
        )
    if not options.width:
        return Match(grid) if grid else None
    if options.projection == "random":
        values = np.random.default_rng(options.seed).standard_normal((array.channels, options.width))
        orthonormal = torch.from_numpy(np.linalg.qr(values)[0]).float()
        return Match(grid, torch.zeros(array.channels), orthonormal)
    mean, matrix = _principal(store, array, train, options.width)
    return Match(grid, mean, matrix)


def _principal(store: FeatureSource, array: ArraySpec, train: Sequence[str], width: int) -> tuple[Tensor, Tensor]:
    """Mean and leading principal directions of training features, in float64, the same in every run."""
    generator = np.random.default_rng(0)
    rows = sorted({row for row in array.row_of_slot if row >= 0})
    parts = []
    for clip_id in [train[int(i)] for i in np.linspace(0, len(train) - 1, min(CLIPS, len(train)))]:
        cells = store.read([(clip_id, array.name, rows)])
        assert isinstance(cells, Tensor)
        flat = cells.reshape(-1, array.channels)
        parts.append(flat[torch.from_numpy(generator.choice(len(flat), min(CELLS, len(flat)), replace=False))].double())
    cells = torch.cat(parts)
    if len(cells) < width:
        raise ConfigError("too few training cells to fit the projection", expected=width, found=len(cells))
    mean = cells.mean(dim=0)
    covariance = (cells - mean).T @ (cells - mean) / len(cells)
    vectors = torch.linalg.eigh(covariance).eigenvectors[:, -width:].flip(1)
    # An eigenvector's sign is arbitrary: its largest entry is made positive.
    signs = vectors.gather(0, vectors.abs().argmax(dim=0, keepdim=True)).sign()
    return mean.float(), (vectors * signs).float()


def refuse_matched_gate(branches: Sequence[int], projected: bool, array: ArraySpec) -> None:
    """Reject a projection of gated features, which would mix the branches.

    Raises:
        ConfigError: an array with a gate, and a projection.
    """
    if branches and projected:
        raise ConfigError(
            "gated features can't be projected to another width",
            expected=f"{sum(branches)} channels in branches of {', '.join(map(str, branches))}",
            found="match.width",
            where=array.name,
            fix="leave match.width out, or use a+b@pca<width>",
        )
