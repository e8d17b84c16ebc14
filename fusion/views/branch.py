"""One branch of a fused array: a parent array, its rows, and what is done to them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cache.format.spec import ArraySpec
from cache.source import FeatureSource
from fusion.views.ops import Normaliser, Projection, resample

if TYPE_CHECKING:
    import torch

BLOCK_VALUES = 1 << 18
"""Values normalised at a time: float32 copies of them stay in the processor's cache."""


@dataclasses.dataclass(frozen=True)
class Branch:
    """One branch.

    Attributes:
        parent: where its features are read.
        array: the parent's array.
        rows: parent row of each fused row.
        grid: the fused grid.
        normalise: applied after resampling.
        project: applied last; None for none.
    """

    parent: FeatureSource
    array: ArraySpec
    rows: tuple[int, ...]
    grid: tuple[int, int]
    normalise: Normaliser
    project: Projection | None = None

    @property
    def channels(self) -> int:
        """Channels that it contributes."""
        return self.project.width if self.project else self.array.channels

    def compute(self, features: torch.Tensor) -> torch.Tensor:
        """Map parent features (n, h, w, C) in any dtype to (n, H, W, channels) float32, on their device."""
        maps = resample(features, self.grid)
        cells = self.normalise(maps.reshape(-1, maps.shape[-1]).float())
        if self.project is not None:
            cells = self.project(cells)
        return cells.reshape(len(features), *self.grid, self.channels)

    def fill(self, features: torch.Tensor, target: torch.Tensor) -> None:
        """Compute one parent map (h, w, C) on the CPU into `target` (H, W, channels), which may be strided.

        Always one map at a time, so that a value does not depend on what else is read with it.
        """
        cells = resample(features[None], self.grid).reshape(-1, features.shape[-1])
        into = target.flatten(0, 1)
        if self.project is not None:
            into.copy_(self.project(self.normalise(cells.float())))
            return
        step = max(1, BLOCK_VALUES // cells.shape[1])
        for start in range(0, len(cells), step):
            block = cells[start : start + step]
            into[start : start + step].copy_(self.normalise(block.float()))
