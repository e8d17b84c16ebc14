"""Uncertainty of means and of any statistic over clips: resampling by room.

Clips of one room resemble each other, so whole rooms are resampled, never single clips. Everything is seeded, and
the same seed and rooms draw the same resamples for every model. Results and report use this one engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, NonFiniteError
from probe.metrics.arrays import FloatArray, require_array

Floats: TypeAlias = NDArray[np.float64]


def require_no_infinity(values: FloatArray, name: str) -> None:
    """Refuse infinite values; NaN is undefined, and left out.

    Raises:
        NonFiniteError: names the first of them.
    """
    bad = np.flatnonzero(np.isinf(values))
    if len(bad):
        raise NonFiniteError(
            f"infinite {name}",
            expected="numbers, or NaN where undefined",
            found=f"{values[bad[0]]} at {bad[0]}",
            where=name,
        )


@dataclass(frozen=True)
class Interval:
    """A value with its percentile bootstrap interval.

    Attributes:
        value: on all clips.
        low: lower end; NaN if undefined, never a fake zero.
        high: upper end; NaN if undefined.
        n_clips: clips with a value.
        n_groups: rooms with a value.
        n_resamples: resamples on which the statistic was defined.
        reason: why the interval is undefined; empty if it is defined.
    """

    value: float
    low: float
    high: float
    n_clips: int
    n_groups: int
    n_resamples: int
    reason: str = ""


@dataclass(frozen=True)
class Resamples:
    """Rooms drawn with replacement: the same draws for all metrics and models, so that differences are paired.

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
    def draw(cls, rooms: Sequence[Any] | NDArray[Any], number: int, confidence: float, seed: int) -> Resamples:
        """Draw `number` resamples of the rooms of N clips.

        Args:
            rooms: (N,) room of each clip: names or numbers, in a sequence or an array.
            number: resamples.
            confidence: coverage of intervals.
            seed: of the draws.

        Raises:
            ConfigError: a confidence or number of resamples without meaning.
            DatasetError: rooms in more than one axis.
        """
        if not 0.0 < confidence < 1.0:
            raise ConfigError("A confidence level lies between 0 and 1", expected="such as 0.95", found=confidence)
        if number < 1:
            raise ConfigError("At least one resample is needed", expected="such as 2000", found=number)
        names, index = np.unique(_names(rooms), return_inverse=True)
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

    def interval_of_mean(self, values: Floats) -> Interval:
        """Return the mean over clips with its interval.

        If rooms have no value, only the others are drawn: a resample holds as many rooms as have a value.

        Args:
            values: (N,); NaN is left out.
        """
        require_no_infinity(values, "values of the clips")
        known = ~np.isnan(values)
        if not known.any():
            return Interval(math.nan, math.nan, math.nan, 0, 0, 0, "undefined on every clip")
        draws, rooms = self, self.rooms[known]
        if len(np.unique(rooms)) < self.n_rooms:
            draws = Resamples.draw(rooms, len(self.counts), self.confidence, self.seed)
            values = values[known]
        return draws.interval(float(values[~np.isnan(values)].mean()), draws.means(values[:, None])[:, 0], len(rooms))

    def interval(self, value: float, samples: Floats, n_clips: int) -> Interval:
        """Return the percentile interval of (R,) samples of any statistic; NaN samples are left out.

        Make every choice that depends on the clips, such as the best layer, inside the statistic: an interval around a
        choice made outside is too narrow.
        """
        require_no_infinity(np.append(samples, value), "resamples of the split")
        known = samples[~np.isnan(samples)]
        reason = ""
        if math.isnan(value):
            reason = "undefined on all clips"
        elif self.n_rooms < 2:
            reason = "fewer than two rooms"
        elif not len(known):
            reason = "undefined on every resample"
        if reason:
            return Interval(value, math.nan, math.nan, n_clips, self.n_rooms, len(known), reason)
        tail = 50.0 * (1.0 - self.confidence)
        low, high = np.percentile(known, (tail, 100.0 - tail))
        return Interval(value, float(low), float(high), n_clips, self.n_rooms, len(known))


def bootstrap_mean(
    values: FloatArray,
    groups: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean over clips with an interval from resampled rooms (percentile method).

    Args:
        values: (N,) one per clip; NaN = undefined, left out.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples.
        seed: of the resamples.

    Raises:
        ConfigError: a confidence or number of resamples without meaning.
        DatasetError: not one room per clip, or values that are not an array of floats.
    """
    require_array(values, (None,), "float", "values of the clips", fix="pass one value per clip")
    draws = Resamples.draw(_names(groups, len(values)), n_resamples, confidence, seed)
    return draws.interval_of_mean(np.asarray(values, np.float64))


def _names(groups: Sequence[Any] | NDArray[Any], n_clips: int | None = None) -> NDArray[Any]:
    names = np.asarray(groups)
    require_array(names, (n_clips,), None, "rooms of the clips", fix="pass one room per clip")
    return names
