"""One fused array: its branches, its description as a store's, and how its rows are computed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cache.format.spec import ArraySpec, torch_dtype
from cache.source import FeatureSource, ReadItem
from configs.errors import MissingError, StoreError
from fusion.views.align import Alignment
from fusion.views.grids import fused_name
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


@dataclasses.dataclass(frozen=True)
class FusedArray:
    """One fused array.

    Attributes:
        spec: its description, as a store has one of each array.
        branches: in the order in which they are concatenated.
        combine: `concat`, `sum` or `gate`; a gated array is read as concatenated, the probe has the gate.
    """

    spec: ArraySpec
    branches: tuple[Branch, ...]
    combine: str

    def items(self, clip_id: str, rows: Sequence[int]) -> list[ReadItem]:
        """Return what to read of each parent for some fused rows: one item per branch, as many rows each.

        Raises:
            MissingError: there is no such row.
        """
        for row in rows:
            if not 0 <= row < self.spec.rows:
                raise MissingError(f"array {self.spec.name} has no row {row}", expected=f"0 to {self.spec.rows - 1}")
        return [(clip_id, branch.array.name, [branch.rows[row] for row in rows]) for branch in self.branches]

    def fill(self, features: Sequence[torch.Tensor], target: torch.Tensor) -> None:
        """Compute one fused row on the CPU: parent maps (h, w, C) each, into `target` (H, W, channels)."""
        if self.combine == "sum":
            import torch

            total = torch.zeros(target.shape)
            for branch, maps in zip(self.branches, features, strict=True):
                total += branch.compute(maps[None])[0]
            target.copy_(total)
            return
        start = 0
        for branch, maps in zip(self.branches, features, strict=True):
            branch.fill(maps, target[..., start : start + branch.channels])
            start += branch.channels

    def _fill_all(self, features: Sequence[torch.Tensor], target: torch.Tensor) -> None:
        """Compute rows on the CPU: parent maps (n, h, w, C) each, into `target` (n, H, W, channels).

        Small maps go several at a time where each cell is computed by itself; products of matrices don't.
        """
        if self.combine == "sum" or any(branch.project for branch in self.branches):
            for number, row in enumerate(target):
                self.fill([maps[number] for maps in features], row)
            return
        start = 0
        for branch, maps in zip(self.branches, features, strict=True):
            part = target[..., start : start + branch.channels]
            step = BLOCK_VALUES // max(maps[0].numel(), part[0].numel())
            for first in range(0, len(maps), max(1, step)):
                if step > 1:
                    part[first : first + step].copy_(branch.compute(maps[first : first + step]))
                else:
                    branch.fill(maps[first], part[first])
            start += branch.channels

    def compute(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute many rows at once, on the device of the parents' features.

        Args:
            features: per branch (..., h, w, C) with equal leading dimensions.

        Returns:
            (..., H, W, channels) in the array's dtype.
        """
        import torch

        with torch.no_grad():
            return self._compute(features)

    def _compute(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        import torch

        lead = features[0].shape[:-3]
        if features[0].device.type == "cpu":  # map by map: memory stays in the processor's cache
            fused = torch.empty((*lead, *self.spec.shape[1:]), dtype=torch_dtype(self.spec.dtype))
            flat = [maps.reshape(-1, *maps.shape[-3:]) for maps in features]
            self._fill_all(flat, fused.view(-1, *self.spec.shape[1:]))
            return fused
        found = [
            branch.compute(maps.reshape(-1, *maps.shape[-3:]))
            for branch, maps in zip(self.branches, features, strict=True)
        ]
        total = torch.stack(found).sum(0) if self.combine == "sum" else torch.cat(found, dim=-1)
        return total.to(torch_dtype(self.spec.dtype)).reshape(*lead, *self.spec.shape[1:])


def make_spec(
    branches: Sequence[Branch], alignment: Alignment, grid: tuple[int, int], combine: str, dtype: str
) -> ArraySpec:
    """Describe a fused array as a store describes its own.

    Block and relative depth are those of the first branch; all branches are listed in `extra`.

    Raises:
        StoreError: a sum of branches of different widths.
    """
    widths = [branch.channels for branch in branches]
    name = fused_name([branch.array for branch in branches], grid)
    if combine == "sum" and len(set(widths)) != 1:
        raise StoreError(
            "only branches of one width can be summed", found=widths, where=name, fix="add project=pca, or width=..."
        )
    first = branches[0].array
    return ArraySpec(
        name=name,
        tap="fused",
        block=first.block,
        blocks_total=first.blocks_total,
        noise_level=first.noise_level,
        grid=grid,
        rows=len(alignment.rows),
        channels=widths[0] if combine == "sum" else sum(widths),
        dtype=dtype,
        row_of_slot=alignment.row_of_slot,
        source_frames=alignment.source_frames,
        pooling="; ".join(_pooling(branch) for branch in branches),
        extra={
            "untrained": any(bool(branch.array.extra.get("untrained")) for branch in branches),
            "combine": combine,
            "branches": [_facts(branch) for branch in branches],
        },
    )


def _pooling(branch: Branch) -> str:
    (height, width), (rows, columns) = branch.array.grid, branch.grid
    if (height, width) == (rows, columns):
        return branch.array.pooling
    how = "bilinear" if rows > height and columns > width else "adaptive average"
    if (rows > height) != (columns > width) and rows != height and columns != width:
        how = "adaptive average and bilinear"
    elif rows >= height and columns >= width:
        how = "bilinear"
    return f"{how} from {height}x{width}"


def _facts(branch: Branch) -> dict[str, Any]:
    array = branch.array
    return {
        "source": branch.parent.source,
        "array": array.name,
        "block": array.block,
        "channels": branch.channels,
        "untrained": bool(array.extra.get("untrained")),
    }
