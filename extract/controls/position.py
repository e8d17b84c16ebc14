"""Coordinates only: where a cell lies in its picture and in which of the 20 query frames; knows nothing of the clip."""

from __future__ import annotations

import numpy as np

from extract.adapter import Adapter, ClipInput, Variant
from extract.controls.maps import Maps, MapSource
from extract.frames import SLOTS
from extract.model import ModelConfig

VERSION = 1
OCTAVES = 4
CHANNELS = 3 * (1 + 2 * OCTAVES)
"""x, y and time in [-1, 1], each with sines and cosines of `OCTAVES` octaves."""


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the source."""
    return MapSource(model, variant, CHANNELS, compute, {"version": VERSION, "octaves": OCTAVES})


def compute(clip: ClipInput, grid: tuple[int, int]) -> Maps:
    """Return (20, rows, columns, 27) float32; the same for every clip."""
    rows, columns = grid
    time, y, x = np.meshgrid(
        np.linspace(-1, 1, SLOTS), _centres(rows), _centres(columns), indexing="ij"
    )  # fmt: skip
    base = np.stack([x, y, time], axis=-1)
    waves = [f(np.pi * 2**octave * base) for octave in range(OCTAVES) for f in (np.sin, np.cos)]
    return np.concatenate([base, *waves], axis=-1).astype(np.float32)


def _centres(count: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return (np.arange(count) + 0.5) / count * 2 - 1
