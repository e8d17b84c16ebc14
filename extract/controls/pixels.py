"""Patch statistics of RGB: what a probe gets without any network."""

from __future__ import annotations

import numpy as np

from extract.adapter import Adapter, ClipInput, Variant
from extract.controls.maps import Maps, MapSource, average
from extract.model import ModelConfig

VERSION = 1
CHANNELS = 20
"""Mean (3) and deviation (3) of RGB, mean absolute differences of grey in x and y (2), colours of the quarters (12)."""


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the source."""
    return MapSource(model, variant, CHANNELS, compute, {"version": VERSION})


def compute(clip: ClipInput, grid: tuple[int, int]) -> Maps:
    """Return (n, rows, columns, 20) float32: statistics of the pixels of each cell, on the scale 0..1."""
    rgb: Maps = clip.frames.astype(np.float32) / np.float32(255)
    grey = rgb.mean(axis=-1, keepdims=True)
    across = np.abs(np.diff(grey, axis=2, append=grey[:, :, -1:]))
    down = np.abs(np.diff(grey, axis=1, append=grey[:, -1:]))
    mean, square = average(rgb, grid), average(rgb**2, grid)
    spread = np.sqrt(np.maximum(square - mean**2, 0))
    edges = average(np.concatenate([across, down], axis=-1), grid)
    return np.concatenate([mean, spread, edges, _quarters(rgb, grid)], axis=-1)


def _quarters(rgb: Maps, grid: tuple[int, int]) -> Maps:
    """Mean colours of the four quarters of each cell; of the cell itself where it is too small to be cut."""
    rows, columns = grid
    fine = (2 * rows if 2 * rows <= rgb.shape[1] else rows, 2 * columns if 2 * columns <= rgb.shape[2] else columns)
    maps = average(rgb, fine)
    up, left = fine[0] // rows, fine[1] // columns
    parts = [maps[:, (i % up) :: up, (j % left) :: left] for i in range(2) for j in range(2)]
    return np.concatenate(parts, axis=-1)
