"""The adapter shared by sources that are not models: maps computed on the CPU, averaged onto any grid."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from extract.adapter import Adapter, BackboneSpec, Batch, ClipInput, Tap, TapSpec, Variant
from extract.frames import image_plan
from extract.model import ModelConfig
from extract.readout import pool_to_grid

if TYPE_CHECKING:
    from torch import Tensor

Maps = NDArray[np.float32]
DEFAULT_GRID = (16, 16)


def grid_of(variant: Variant) -> tuple[int, int]:
    """Return the requested grid, on which the source is compared with a model; 16x16 by default."""
    rows, columns = variant.extra.get("grid", DEFAULT_GRID)
    return int(rows), int(columns)


class MapSource(Adapter):
    """A source whose features are a function of the clip, one map per query frame."""

    def __init__(
        self,
        model: ModelConfig,
        variant: Variant,
        channels: int,
        compute: Callable[[ClipInput, tuple[int, int]], Maps],
        identity: Mapping[str, Any],
        ground_truth: tuple[str, ...] = (),
    ) -> None:
        """Make the source.

        Args:
            model, variant: as for every adapter.
            channels: width of a cell.
            compute: (clip, grid) -> (20, rows, columns, channels) float32; called from several threads.
            identity: what changes a value.
            ground_truth: what `compute` reads besides the frames.
        """
        self._compute, self._identity, self._grid = compute, identity, grid_of(variant)
        self.spec = BackboneSpec(
            name=model.name,
            family=model.family,
            frames=image_plan(),
            input_size=(0, 0),
            taps={model.family: TapSpec(blocks=0, grid=self._grid, channels=channels)},
            compute_dtype="float32",
            store_dtype=model.dtype,
            ground_truth=ground_truth,
        )

    def identity(self) -> Mapping[str, Any]:
        """Return everything that changes a value; the grid names the array instead."""
        return {"family": self.spec.family, **self._identity}

    def preprocess(self, clip: ClipInput) -> Mapping[str, Tensor]:
        """Compute `features` (20, rows, columns, C) float32."""
        import torch

        return {"features": torch.from_numpy(np.ascontiguousarray(self._compute(clip, self._grid), np.float32))}

    def load(self, taps: Sequence[Tap]) -> None:
        """Check the taps; there are no weights."""
        for tap in taps:
            self.spec.check(tap)
        self._keys = [tap.key for tap in taps]

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """Hand over what `preprocess` has computed."""
        return dict.fromkeys(self._keys, batch.inputs["features"])


def average(values: NDArray[Any], grid: tuple[int, int]) -> Maps:
    """Average (n, H, W, C) maps onto a grid, in float32.

    Raises:
        ConfigError: the grid is finer than the maps.
    """
    import torch

    if grid[0] > values.shape[1] or grid[1] > values.shape[2]:
        raise ConfigError(
            "the grid is finer than the pictures of this dataset",
            expected=f"at most {values.shape[1]}x{values.shape[2]}",
            found=f"{grid[0]}x{grid[1]}",
            fix="choose a smaller grid=, or prepare the dataset at a higher resolution",
        )
    return np.asarray(pool_to_grid(torch.from_numpy(np.ascontiguousarray(values, np.float32)), grid).numpy())


def average_known(values: NDArray[Any], known: NDArray[np.bool_], grid: tuple[int, int]) -> Maps:
    """Average (n, H, W, C) maps over the known pixels (n, H, W) of each cell; cells without any are 0."""
    weight = known[..., None].astype(np.float32)
    total = average(np.where(known[..., None], values, 0), grid)
    share = average(weight, grid)
    return np.divide(total, share, out=np.zeros_like(total), where=share > 0)
