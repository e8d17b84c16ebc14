"""Uncertainty of means and of any statistic over clips: bootstrap by room, paired differences.

Clips of one room resemble each other, so whole rooms are resampled, never single clips. Everything is seeded, and
the same seed and rooms draw the same resamples for every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from probe.metrics.arrays import FloatArray, require_array

Statistic = Callable[[NDArray[np.int64]], float]
"""From (M,) indices of clips, repeats included, to a number; NaN where undefined."""

EXACT_ROOMS = 12
"""Up to so many rooms all sign flips are enumerated."""
FLIPS = 19_999
"""Random sign flips beyond: p values go down to 1 / 20000, so that a correction for hundreds of comparisons leaves some
below 0.05. They cost next to nothing, unlike resamples of a statistic."""


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
        reason: why there is no interval; empty if there is one.
    """

    value: float
    low: float
    high: float
    n_clips: int
    n_groups: int
    n_resamples: int
    reason: str = ""


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two models on the same clips.

    Attributes:
        interval: of the difference a - b.
        p_value: two-sided, of no difference; NaN with fewer than two rooms.
        test: `sign flips, exact`, `sign flips` or `bootstrap`.
    """

    interval: Interval
    p_value: float
    test: str


@dataclass(frozen=True)
class _Groups:
    """Clips numbered by group: (N,) index, and how many groups."""

    index: NDArray[np.int64]
    count: int


def _names(groups: Sequence[Any] | NDArray[Any], n_clips: int | None = None) -> NDArray[Any]:
    names = np.asarray(groups)
    require_array(names, (n_clips,), None, "rooms of the clips", fix="pass one room per clip")
    return names


def _grouped(names: NDArray[Any]) -> _Groups:
    if len(names) == 0:
        return _Groups(np.zeros(0, np.int64), 0)
    unique, index = np.unique(names, return_inverse=True)
    return _Groups(index.astype(np.int64), len(unique))


def _interval(
    value: float, samples: NDArray[np.float64], n_clips: int, n_groups: int, confidence: float, reason: str = ""
) -> Interval:
    defined = samples[~np.isnan(samples)]
    if not reason and n_groups < 2:
        reason = "fewer than two rooms"
    if not reason and not len(defined):
        reason = "undefined on every resample"
    if reason:
        return Interval(value, math.nan, math.nan, n_clips, n_groups, len(defined), reason)
    tail = 50.0 * (1.0 - confidence)
    low, high = np.percentile(defined, (tail, 100.0 - tail))
    return Interval(value, float(low), float(high), n_clips, n_groups, len(defined))


def _check(confidence: float, n_resamples: int) -> None:
    if not 0.0 < confidence < 1.0:
        raise ConfigError("A confidence level lies between 0 and 1", expected="such as 0.95", found=confidence)
    if n_resamples < 1:
        raise ConfigError("At least one resample is needed", expected="such as 2000", found=n_resamples)


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
    _check(confidence, n_resamples)
    require_array(values, (None,), "float", "values of the clips", fix="pass one value per clip")
    values, names = np.asarray(values, np.float64), _names(groups, len(values))
    known = ~np.isnan(values)
    grouped = _grouped(names[known])
    if not known.any():
        return Interval(math.nan, math.nan, math.nan, 0, 0, 0, "undefined on every clip")
    sums = np.bincount(grouped.index, values[known], grouped.count)
    sizes = np.bincount(grouped.index, minlength=grouped.count)
    draws = np.random.default_rng(seed).integers(0, grouped.count, (n_resamples, grouped.count))
    samples = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    return _interval(float(values[known].mean()), samples, int(known.sum()), grouped.count, confidence)


def bootstrap_statistic(
    statistic: Statistic,
    groups: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Interval:
    """Any statistic of the clips (mAP, a best layer's score) with an interval from resampled rooms.

    Make every choice that looks at the clips, such as the best layer, inside `statistic`: an interval around a
    choice made outside is too narrow.

    Args:
        statistic: from clip indices to a number.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples, each one call of `statistic`.
        seed: of the resamples.

    Raises:
        ConfigError: a confidence or number of resamples without meaning.
        DatasetError: rooms in more than one axis.
    """
    _check(confidence, n_resamples)
    grouped = _grouped(_names(groups))
    value, samples = _resampled(statistic, grouped, n_resamples, seed)
    reason = "undefined on all clips" if math.isnan(value) else ""
    return _interval(value, samples, len(grouped.index), grouped.count, confidence, reason)


def _resampled(
    statistic: Statistic, grouped: _Groups, n_resamples: int, seed: int
) -> tuple[float, NDArray[np.float64]]:
    if not grouped.count:
        return math.nan, np.zeros(0)
    members = np.split(
        np.argsort(grouped.index, kind="stable"), np.cumsum(np.bincount(grouped.index, minlength=grouped.count))[:-1]
    )
    value = float(statistic(np.arange(len(grouped.index))))
    draws = np.random.default_rng(seed).integers(0, grouped.count, (n_resamples, grouped.count))
    samples = [float(statistic(np.concatenate([members[group] for group in draw]))) for draw in draws]
    return value, np.array(samples)


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    groups: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = 0.95,
    n_resamples: int = 2000,
    n_flips: int = FLIPS,
    seed: int = 0,
) -> PairedDifference:
    """Mean difference of two models over the clips where both have a value.

    The interval resamples rooms. The p value flips the sign of whole rooms, as no difference would allow: over all
    2^G assignments for up to 12 rooms, over `n_flips` random ones beyond (counting the observed one).

    Args:
        first: (N,) per clip, NaN = undefined.
        second: (N,) per clip, same order.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples of the interval.
        n_flips: random sign flips of more than 12 rooms.
        seed: of both.

    Raises:
        ConfigError: a confidence or number of resamples without meaning.
        DatasetError: not one room and one value of each model per clip, or values that are not arrays of floats.
    """
    fix = "pass one value per clip, of the same clips for both models"
    require_array(first, (None,), "float", "values of the first model", fix=fix)
    require_array(second, first.shape, "float", "values of the second model", fix=fix)
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    interval = bootstrap_mean(difference, groups, confidence=confidence, n_resamples=n_resamples, seed=seed)
    if interval.n_groups < 2:
        return PairedDifference(interval, math.nan, "sign flips")
    known = ~np.isnan(difference)
    grouped = _grouped(_names(groups)[known])
    totals = np.bincount(grouped.index, difference[known], grouped.count)
    exact = grouped.count <= EXACT_ROOMS
    signs = _signs(grouped.count, 2**grouped.count if exact else n_flips, None if exact else seed)
    # sums of the same numbers in another order differ in the last bits: without slack, ties would be missed
    extreme = np.abs(signs @ totals) >= abs(totals.sum()) - 1e-9 * np.abs(totals).sum()
    p_value = float(extreme.mean()) if exact else float((extreme.sum() + 1) / (n_flips + 1))
    return PairedDifference(interval, p_value, "sign flips, exact" if exact else "sign flips")


@lru_cache(maxsize=4)
def _signs(rooms: int, number: int, seed: int | None) -> NDArray[np.float64]:
    """Return (number, rooms) of -1 and 1: all assignments without a seed, else random ones, the same for every pair."""
    if seed is None:
        bits = np.arange(number)[:, None] >> np.arange(rooms) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (number, rooms), dtype=np.int8)
    signs: NDArray[np.float64] = np.where(bits, -1.0, 1.0)
    return signs


def paired_statistic(
    first: Statistic,
    second: Statistic,
    groups: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = 0.95,
    n_resamples: int = 1000,
    seed: int = 0,
) -> PairedDifference:
    """Difference of a statistic that is no mean over clips (mAP) between two models, on the same resamples.

    The two-sided p value is twice the smaller share of resamples on either side of zero, counting one more on each
    side so that it is never 0.

    Args:
        first: statistic of the first model.
        second: statistic of the second model.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.
        confidence: coverage of the interval.
        n_resamples: bootstrap resamples.
        seed: of the resamples.

    Raises:
        ConfigError: a confidence or number of resamples without meaning.
        DatasetError: rooms in more than one axis.
    """
    _check(confidence, n_resamples)
    grouped = _grouped(_names(groups))
    value, samples = _resampled(lambda index: first(index) - second(index), grouped, n_resamples, seed)
    reason = "undefined on all clips" if math.isnan(value) else ""
    interval = _interval(value, samples, len(grouped.index), grouped.count, confidence, reason)
    if interval.reason:
        return PairedDifference(interval, math.nan, "bootstrap")
    defined = samples[~np.isnan(samples)]
    side = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return PairedDifference(interval, min(1.0, 2.0 * (side + 1) / (len(defined) + 1)), "bootstrap")
