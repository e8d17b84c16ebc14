"""A branch of noise: the control that has a fused source's width but none of its information."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec, array_name
from cache.source import Features, FeatureSource, ReadItem, allocate
from configs.errors import MissingError
from configs.names import NOISE

if TYPE_CHECKING:
    import torch


class NoiseSource(FeatureSource):
    """Standard normal features, one map per query slot, drawn separately for each clip and slot from a seed.

    They are computed when they are read: the same numbers each time, in any order, on any machine.

    Args:
        twin: the source whose clips, slots and frames it takes.
        array: the twin's array.
        grid: height and width of the maps.
        channels: width of a cell.
        seed: of the noise.
    """

    noun = NOISE

    def __init__(self, twin: FeatureSource, array: ArraySpec, grid: tuple[int, int], channels: int, seed: int) -> None:
        super().__init__()
        self._twin, self._seed = twin, seed
        slots = [slot for slot, row in enumerate(array.row_of_slot) if row >= 0]
        self._spec = ArraySpec(
            name=array_name(NOISE, None, None, grid),
            tap=NOISE,
            block=None,
            blocks_total=None,
            noise_level=None,
            grid=grid,
            rows=len(slots),
            channels=channels,
            dtype=array.dtype,
            row_of_slot=tuple(slots.index(s) if s in slots else -1 for s in range(len(array.row_of_slot))),
            source_frames=tuple(array.source_frames[array.row_of_slot[slot]] for slot in slots),
            extra={"untrained": True},
        )

        self._arrays = {self._spec.name: self._spec}

    @property
    def source(self) -> str:
        """The word for noise in names of fusions."""
        return NOISE

    @property
    def where(self) -> str:
        """What it is, for messages."""
        return f"noise of {self._spec.channels} channels"

    @property
    def dataset(self) -> str:
        """Name of the prepared dataset."""
        return self._twin.dataset

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """Everything that changes a value."""
        values: dict[str, Any] = {"noise": {"version": 1, "distribution": "normal", "seed": self._seed}}
        if "dataset" in self._twin.fingerprint:
            values["dataset"] = self._twin.fingerprint["dataset"]
        return values

    @property
    def entries(self) -> Sequence[ClipEntry]:
        """The twin's clips with all that is known of them."""
        return self._twin.entries

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """The one array."""
        return self._arrays

    def committed(self, array: str) -> list[str]:
        """Return all clips; errors as in `FeatureSource`."""
        self.array(array)
        return self.clips

    def _read(self, items: Sequence[ReadItem], out: torch.Tensor | None, allow_partial: bool) -> Features:
        import torch

        tensors = allocate(items, [self.array(name) for _, name, _ in items], out)
        for (clip_id, name, rows), target in zip(items, tensors, strict=True):
            self.clip_index(clip_id)
            for place, row in enumerate(rows):
                if not 0 <= row < self._spec.rows:
                    raise MissingError(f"array {name} has no row {row}", expected=f"0 to {self._spec.rows - 1}")
                target[place].copy_(torch.from_numpy(self._draw(clip_id, row)))
        return tensors

    def _draw(self, clip_id: str, row: int) -> npt.NDArray[np.float32]:
        """Return one map (h, w, C): 16 random bits per value, through the quantiles of the normal distribution."""
        shape = self._spec.shape[1:]
        seed = hashlib.sha256(f"{self._seed}/{clip_id}/{row}/{shape}".encode()).digest()
        count = int(np.prod(shape))
        words = np.random.PCG64(int.from_bytes(seed, "little")).random_raw(-(-count // 4))
        values: npt.NDArray[np.float32] = _quantiles()[words.astype("<u8", copy=False).view("<u2")[:count]].reshape(
            shape
        )
        return values


@cache
def _quantiles() -> npt.NDArray[np.float32]:
    from scipy.special import ndtri

    values = ndtri((np.arange(1 << 16) + 0.5) / (1 << 16))
    return np.asarray(values / values.std(), np.float32)
