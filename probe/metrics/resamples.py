"""The same resamples of rooms for all sources of a setting, so that differences are paired; everything at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.metrics.statistics import Interval

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """Rooms drawn with replacement, as `probe.metrics.bootstrap_statistic` draws them for the same seed.

    Attributes:
        rooms: (N,) index of each clip's room.
        counts: (R, G) how often each room was drawn.
        confidence: coverage of intervals.
        seed: of the draws.
    """

    rooms: NDArray[np.int64]
    counts: Floats
    confidence: float
    seed: int

    @classmethod
    def draw(cls, rooms: Sequence[str], number: int, confidence: float, seed: int) -> Resamples:
        """Draw `number` resamples of the rooms of N clips."""
        names, index = np.unique(np.asarray(rooms, dtype=str), return_inverse=True)
        groups = len(names)
        counts = np.zeros((number, groups))
        if groups:
            draws = np.random.default_rng(seed).integers(0, groups, (number, groups))
            np.add.at(counts, (np.arange(number)[:, None], draws), 1.0)
        return cls(index.astype(np.int64).reshape(-1), counts, confidence, seed)

    @property
    def n_rooms(self) -> int:
        """Rooms."""
        return int(self.counts.shape[1])

    def of_clips(self) -> Floats:
        """Return (R, N): how often each clip is in each resample."""
        return self.counts[:, self.rooms]

    def means(self, values: Floats) -> Floats:
        """Return (R, M) means over clips, NaN where no clip of a resample has a value.

        Args:
            values: (N, M); NaN is left out.
        """
        known = ~np.isnan(values)
        sums, sizes = (self._by_room(x) for x in (np.where(known, values, 0.0), known.astype(np.float64)))
        total, number = self.counts @ sums, self.counts @ sizes
        return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)

    def room_means(self, values: Floats) -> Floats:
        """Return (G,) the mean of each room over its clips with a value, NaN for rooms without."""
        known = ~np.isnan(values)
        sums = self._by_room(np.where(known, values, 0.0)[:, None])[:, 0]
        sizes = self._by_room(known.astype(np.float64)[:, None])[:, 0]
        return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)

    def _by_room(self, values: Floats) -> Floats:
        sums = np.zeros((self.n_rooms, values.shape[1]))
        np.add.at(sums, self.rooms, values)
        return sums

    def interval(self, value: float, samples: Floats, n_clips: int, n_rooms: int | None = None) -> Interval:
        """Return the percentile interval of (R,) samples; NaN samples are left out."""
        rooms = self.n_rooms if n_rooms is None else n_rooms
        known = samples[~np.isnan(samples)]
        reason = ""
        if math.isnan(value):
            reason = "undefined on all clips"
        elif rooms < 2:
            reason = "fewer than two rooms"
        elif not len(known):
            reason = "undefined on every resample"
        if reason:
            return Interval(value, math.nan, math.nan, n_clips, rooms, len(known), reason)
        tail = 50.0 * (1.0 - self.confidence)
        low, high = np.percentile(known, (tail, 100.0 - tail))
        return Interval(value, float(low), float(high), n_clips, rooms, len(known))
