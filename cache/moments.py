"""Per-channel statistics in float64: computed while a clip is written, merged exactly over any set of clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from configs.errors import CorruptionError

Vector = npt.NDArray[np.float64]

BLOCK_VALUES = 1 << 16
"""Values converted to float64 at a time: small enough for the cache and for the writer's memory bound."""


@dataclasses.dataclass
class Moments:
    """Count, mean and sum of squared deviations of each channel.

    Attributes:
        count: cells seen (rows x height x width).
        mean: (C,) mean.
        m2: (C,) sum of squared deviations from the mean.
        minimum, maximum: (C,) extremes.
    """

    count: int
    mean: Vector
    m2: Vector
    minimum: Vector
    maximum: Vector

    @classmethod
    def empty(cls, channels: int) -> Moments:
        """Return the statistics of no cells."""
        return cls(
            0,
            np.zeros(channels),
            np.zeros(channels),
            np.full(channels, np.inf),
            np.full(channels, -np.inf),
        )

    @property
    def variance(self) -> Vector:
        """(C,) population variance; NaN when nothing was counted."""
        return self.m2 / self.count if self.count else np.full_like(self.m2, np.nan)

    @property
    def absmax(self) -> float:
        """Largest absolute value; not finite if any value is not."""
        return float(max(np.max(np.abs(self.minimum)), np.max(np.abs(self.maximum)))) if self.count else 0.0

    def add_cells(self, cells: npt.NDArray[np.float32]) -> None:
        """Add (n, C) values."""
        step = max(1, BLOCK_VALUES // cells.shape[1])
        for start in range(0, len(cells), step):
            self._add_block(cells[start : start + step])

    def _add_block(self, cells: npt.NDArray[np.float32]) -> None:
        block = cells.astype(np.float64)
        mean = np.add.reduce(block, axis=0)
        mean /= len(block)
        np.minimum(self.minimum, cells.min(axis=0), out=self.minimum)
        np.maximum(self.maximum, cells.max(axis=0), out=self.maximum)
        block -= mean
        np.multiply(block, block, out=block)
        self._merge(len(block), mean, np.add.reduce(block, axis=0))

    def _merge(self, count: int, mean: Vector, m2: Vector) -> None:
        total = self.count + count
        shift = mean - self.mean
        self.m2 += m2
        self.m2 += shift * shift * (self.count * count / total)
        self.mean += shift * (count / total)
        self.count = total

    def merge(self, other: Moments) -> None:
        """Add the cells of another set, as if all had been seen together (Chan, Golub and LeVeque, 1979)."""
        if other.count:
            self._merge(other.count, other.mean, other.m2)
            np.minimum(self.minimum, other.minimum, out=self.minimum)
            np.maximum(self.maximum, other.maximum, out=self.maximum)


def merged(parts: Iterable[Moments], channels: int) -> Moments:
    """Return the statistics of all parts together; the result depends on their order only in the last bits."""
    total = Moments.empty(channels)
    for part in parts:
        total.merge(part)
    return total


def to_bytes(moments: Mapping[str, Moments]) -> bytes:
    """Return the statistics of several arrays as a safetensors file with tensors `<array>/<field>`."""
    from safetensors.numpy import save

    tensors = {}
    for name in sorted(moments):
        for field in dataclasses.fields(Moments):
            value = getattr(moments[name], field.name)
            tensors[f"{name}/{field.name}"] = np.asarray(value, np.int64 if field.name == "count" else np.float64)
    return bytes(save(tensors))


def from_bytes(data: bytes, array: str, where: str) -> Moments:
    """Return the statistics of one array.

    Raises:
        CorruptionError: the file does not hold them.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
        values = {field.name: tensors[f"{array}/{field.name}"] for field in dataclasses.fields(Moments)}
    except (SafetensorError, KeyError, ValueError) as error:
        raise CorruptionError(f"no readable statistics of {array}: {error}", where=where) from error
    return Moments(**{**values, "count": int(values["count"])})
