"""Per-channel statistics in float64: computed while a clip is written, merged exactly over any set of clips."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from cache.format.spec import ITEM_BYTES
from configs.errors import CorruptionError

Vector = npt.NDArray[np.float64]

BLOCK_VALUES = 1 << 16
"""Values converted to float64 at a time: small enough for the processor's cache and the writer's memory bound."""


@dataclasses.dataclass
class Moments:
    """Count, mean and sum of squared deviations of each channel.

    Attributes:
        count: cells seen (rows x height x width).
        mean: (C,) mean.
        m2: (C,) sum of squared deviations from the mean.
        absmax: (C,) largest absolute value.
    """

    count: int
    mean: Vector
    m2: Vector
    absmax: Vector

    @classmethod
    def empty(cls, channels: int) -> Moments:
        """Return the statistics of no cells."""
        return cls(0, np.zeros(channels), np.zeros(channels), np.zeros(channels))

    @property
    def variance(self) -> Vector:
        """(C,) population variance; NaN when nothing was counted."""
        return self.m2 / self.count if self.count else np.full_like(self.m2, np.nan)

    def merge(self, other: Moments) -> None:
        """Add the cells of another set, as if all had been seen together (Chan, Golub and LeVeque, 1979)."""
        if not other.count:
            return
        total = self.count + other.count
        shift = other.mean - self.mean
        self.m2 += other.m2
        self.m2 += shift * shift * (self.count * other.count / total)
        self.mean += shift * (other.count / total)
        self.count = total
        np.maximum(self.absmax, other.absmax, out=self.absmax)


class MomentsBuilder:
    """Computes `Moments` from stored bytes, block by block in reused memory.

    The result depends on the values alone: no threads, no reordered sums.

    Args:
        channels: values per cell.
        dtype: stored dtype.
    """

    def __init__(self, channels: int, dtype: str) -> None:
        self.moments = Moments.empty(channels)
        cells = max(1, BLOCK_VALUES // channels)
        self._dtype, self._item = dtype, ITEM_BYTES[dtype]
        self._float32 = np.empty((cells, channels), np.float32)
        self._block = np.empty((cells, channels), np.float64)
        self._bits = np.empty((cells, channels), f"<u{self._item}")

    def add(self, data: npt.NDArray[np.uint8]) -> None:
        """Add whole cells as stored. NaN and infinity make `absmax` of their channel not finite."""
        cells, channels = self._block.shape
        values = data.view(f"<u{self._item}").reshape(-1, channels)
        with np.errstate(all="ignore"):
            for start in range(0, len(values), cells):
                self._add_block(values[start : start + cells])

    def _add_block(self, stored: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]) -> None:
        count = len(stored)
        block, bits = self._block[:count], self._bits[:count]
        block[...] = self._as_float32(stored)
        mean = np.add.reduce(block, axis=0) / count
        np.subtract(block, mean, out=block)
        np.multiply(block, block, out=block)
        np.bitwise_and(stored, (1 << (8 * self._item - 1)) - 1, out=bits)  # without sign, floats order as integers do
        absmax = as_float32(np.maximum.reduce(bits, axis=0).view(np.uint8), self._dtype)
        self.moments.merge(Moments(count, mean, np.add.reduce(block, axis=0), absmax.astype(np.float64)))

    def _as_float32(self, stored: npt.NDArray[np.uint16] | npt.NDArray[np.uint32]) -> npt.NDArray[np.float32]:
        if self._dtype == "float32":
            return stored.view(np.float32)
        out = self._float32[: len(stored)]
        if self._dtype == "float16":
            out[...] = stored.view(np.float16)
        else:
            bits = out.view(np.uint32)
            bits[...] = stored
            np.left_shift(bits, 16, out=bits)
        return out


def as_float32(data: npt.NDArray[np.uint8], dtype: str) -> npt.NDArray[np.float32]:
    """Return stored bytes as float32 values, exactly."""
    if dtype == "bfloat16":
        return np.left_shift(data.view("<u2").astype(np.uint32), 16).view(np.float32)
    return np.asarray(data.view({"float16": "<f2", "float32": "<f4"}[dtype]), np.float32)


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
