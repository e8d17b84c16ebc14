"""Uncertainty of scores: rooms and seeds are what varies, never single clips.

Clips of one room resemble each other, so a score is taken apart by room: the mean of each room's clips, or, for metrics
that rank clips against each other, the jackknife's value of each room. Probes with other seeds add a variance of their
own. An `Estimate` holds both parts; differences, averages and contrasts of estimates are estimates again. Results and
report use this one engine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError, NonFiniteError
from probe.metrics.arrays import FloatArray, require_array

Floats: TypeAlias = NDArray[np.float64]

MIN_ROOMS = 12
"""Below so many rooms a mean over rooms has no interval: simulated ones cover too rarely (docs/methodology.md)."""
MIN_ROOMS_POOLED = 18
"""The same for metrics that rank clips against each other."""
CONFIDENCE = 0.95
"""Coverage of intervals unless told otherwise."""
RESAMPLES = 2000
"""Draws of an interval unless told otherwise."""


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval.

    Attributes:
        value: the estimate: for means of clips the mean over rooms of room means.
        low: lower end; NaN if undefined, never a fake zero.
        high: upper end; NaN if undefined.
        n_clips: clips with a value.
        n_groups: rooms with a value.
        reason: why the interval is undefined; empty if it is defined.
    """

    value: float
    low: float
    high: float
    n_clips: int
    n_groups: int
    reason: str = ""


@dataclass(frozen=True)
class Estimate:
    """A number and what it varies over.

    Attributes:
        value: the estimate, mean over seeds; NaN if undefined.
        rooms: (G,) one value per room, mean over seeds: room means, or pseudo-values of the jackknife.
        others: what else it varies over, such as the seeds of each side: the variance of the mean and its degrees of
            freedom; 0 degrees: a single seed, whose variance is not known.
        n_clips: clips with a value.
        pooled: whether `rooms` are pseudo-values.
    """

    value: float
    rooms: Floats
    others: tuple[tuple[float, int], ...] = ()
    n_clips: int = 0
    pooled: bool = False

    @property
    def rooms_error(self) -> float:
        """Standard error from the spread between rooms; NaN with fewer than two."""
        return float(self.rooms.std(ddof=1)) / math.sqrt(len(self.rooms)) if len(self.rooms) > 1 else math.nan

    @property
    def single_seed(self) -> bool:
        """Whether a side has one seed only, so that the spread between its seeds is not known."""
        return any(dof == 0 for _, dof in self.others)

    @property
    def others_error(self) -> tuple[float, float]:
        """Standard error from what else it varies over, with Satterthwaite's degrees of freedom; single seeds add 0."""
        known = [(variance, dof) for variance, dof in self.others if dof > 0 and variance > 0]
        total = sum(variance for variance, _ in known)
        if not known:
            return 0.0, math.inf
        return math.sqrt(total), total**2 / sum(variance**2 / dof for variance, dof in known)

    @property
    def error(self) -> float:
        """Standard error from rooms and all else."""
        return math.hypot(self.rooms_error, self.others_error[0])

    @property
    def too_few(self) -> str:
        """Why there is neither interval nor test; empty if there is."""
        needed = MIN_ROOMS_POOLED if self.pooled else MIN_ROOMS
        if math.isnan(self.value) or not self.n_clips:
            return "undefined on every clip"
        if len(self.rooms) < needed:
            return f"fewer than {needed} rooms: {len(self.rooms)}"
        if np.isnan(self.rooms).any():
            return "undefined without some of the rooms"
        return ""


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
            found=f"{values.flat[bad[0]]} at {bad[0]}",
            where=name,
        )


def require_seeds(values: FloatArray, name: str, clips: int | None = None) -> FloatArray:
    """Return values of seeds as (S, N); (N,) is one seed.

    Raises:
        DatasetError: not an array of floats of that shape.
    """
    shape = (clips,) if np.ndim(values) == 1 else (None, clips)
    require_array(values, shape, "float", name, fix="pass one value per seed and clip")
    return np.atleast_2d(values)


def room_index(groups: Sequence[Any] | NDArray[Any], n_clips: int | None = None) -> NDArray[np.int64]:
    """Return (N,) the index of each clip's room; rooms are in the order of their names.

    Raises:
        DatasetError: not one room per clip.
    """
    names = np.asarray(groups)
    require_array(names, (n_clips,), None, "rooms of the clips", fix="pass one room per clip")
    index: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64).reshape(-1)
    return index


def room_means(values: Floats, rooms: NDArray[np.int64]) -> Floats:
    """Return (S, G) means of each room over its clips, NaN for rooms without a value.

    Args:
        values: (S, N), NaN = undefined, left out.
        rooms: (N,) index of each clip's room.
    """
    number = int(rooms.max()) + 1 if len(rooms) else 0
    known = ~np.isnan(values)
    sums, sizes = np.zeros((len(values), number)), np.zeros((len(values), number))
    np.add.at(sums.T, rooms, np.where(known, values, 0.0).T)
    np.add.at(sizes.T, rooms, known.T)
    return np.divide(sums, sizes, out=np.full_like(sums, np.nan), where=sizes > 0)


def estimate_mean(values: FloatArray, groups: Sequence[Any] | NDArray[Any]) -> Estimate:
    """Estimate the mean over rooms of room means.

    A clip counts where every seed has a value, so that seeds are compared on the same clips.

    Args:
        values: (S, N) per seed and clip, or (N,) of one seed; NaN = undefined.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.

    Raises:
        DatasetError: not one room per clip, or values that are not an array of floats.
        NonFiniteError: an infinite value.
    """
    seeds = require_seeds(values, "values of the clips")
    rooms = room_index(groups, seeds.shape[1])
    require_no_infinity(seeds, "values of the clips")
    whole: Floats = np.where(np.isnan(seeds).any(axis=0), np.nan, seeds.astype(np.float64))
    means = room_means(whole, rooms)
    means = means[:, ~np.isnan(means).any(axis=0)]
    if not means.size:
        return Estimate(math.nan, np.zeros(0))
    each = means.mean(axis=1)
    clips = int((~np.isnan(whole[0])).sum())
    return Estimate(float(each.mean()), means.mean(axis=0), _of_seeds(each), clips)


def estimate_pooled(values: Floats, left_out: Floats, n_clips: int) -> Estimate:
    """Estimate a statistic of the whole split by the jackknife over rooms (Tukey's pseudo-values).

    Args:
        values: (S,) on all rooms, per seed.
        left_out: (S, G) without each room in turn; NaN where that leaves it undefined.
        n_clips: clips in the split.
    """
    number = left_out.shape[1]
    pseudo = number * values[:, None] - (number - 1) * left_out
    return Estimate(float(values.mean()), pseudo.mean(axis=0), _of_seeds(values), n_clips, pooled=True)


def _of_seeds(each: Floats) -> tuple[tuple[float, int], ...]:
    number = len(each)
    return ((float(each.var(ddof=1)) / number if number > 1 else 0.0, number - 1),)


def contrast(weights: Sequence[float], estimates: Sequence[Estimate]) -> Estimate:
    """Return a sum of estimates on the same rooms with weights: (1, -1) is a difference, (1/2, 1/2) an average.

    Estimates with seeds of their own are independent of each other given the rooms.
    """
    value = float(sum(w * e.value for w, e in zip(weights, estimates, strict=True)))
    if math.isnan(value) or len({len(e.rooms) for e in estimates}) != 1:
        return Estimate(math.nan, np.zeros(0), pooled=any(e.pooled for e in estimates))
    rooms = np.sum([w * e.rooms for w, e in zip(weights, estimates, strict=True)], axis=0)
    others = tuple(
        (w * w * variance, dof) for w, e in zip(weights, estimates, strict=True) for variance, dof in e.others
    )
    return Estimate(value, rooms, others, min(e.n_clips for e in estimates), any(e.pooled for e in estimates))


# ---- the distribution of the error


def studentised(estimate: Estimate, number: int, seed: int) -> Floats:
    """Return (R,) draws of the error of an estimate in units of its standard error.

    Rooms: whole rooms are resampled (bootstrap-t, Efron and Tibshirani 1993, section 12.5); for pooled metrics their
    mean is normal. Seeds and the like are normal, with variances that are as uncertain as their degrees of freedom say,
    so that for large ones the statistic is that of Satterthwaite.

    Args:
        estimate: with two rooms or more.
        number: draws.
        seed: of the draws; equal numbers of rooms share those of rooms.
    """
    size = len(estimate.rooms)
    if not estimate.pooled:
        return with_others(*resampled_means(estimate.rooms, number, seed), estimate, seed)
    if not estimate.others_error[0]:
        from scipy.stats import t

        order = np.random.default_rng([seed, number]).permutation(number)
        return np.asarray(t.ppf((order + 0.5) / number, size - 1), np.float64)
    draw = np.random.default_rng([seed, number, size])
    mean = estimate.rooms_error * draw.standard_normal(number)
    variance = estimate.rooms_error**2 * draw.chisquare(size - 1, number) / (size - 1)
    return with_others(mean, variance, estimate, seed)


def resampled_means(rooms: Floats, number: int, seed: int) -> tuple[Floats, Floats]:
    """Return (R,) means of resampled rooms around the mean of all, and (R,) their squared standard errors."""
    centred, size = rooms - rooms.mean(), len(rooms)
    counts = _counts(size, number, seed)
    mean = counts @ centred / size
    return mean, np.maximum(counts @ centred**2 / size - mean**2, 0.0) / (size - 1)


def with_others(mean: Floats, variance: Floats, estimate: Estimate, seed: int, stream: int = 0) -> Floats:
    """Return (R,) studentised errors: those of rooms, and of seeds and the like.

    Where most rooms are equal many resamples have no spread, and without seeds their statistic would be infinite, or
    nothing. They are replaced by others, so that ends stay finite.

    Args:
        mean, variance: (R,) errors of rooms and their squared standard errors.
        estimate: whose errors they are.
        seed: of the draws of seeds and the like.
        stream: estimates with other streams are drawn independently.
    """
    spread, dof = estimate.others_error
    if spread:
        draw = np.random.default_rng([seed, len(mean), stream])
        mean = mean + spread * draw.standard_normal(len(mean))
        variance = variance + spread**2 * draw.chisquare(dof, len(mean)) / dof
    usable = variance > 1e-20 * max(float(variance.max()), 1e-300)
    if not usable.any():
        return np.zeros(len(mean))
    return np.resize(mean[usable] / np.sqrt(variance[usable]), len(mean))


@lru_cache(maxsize=8)
def _counts(rooms: int, number: int, seed: int) -> Floats:
    """Return (R, G): how often each room is in each resample."""
    draws = np.random.default_rng([seed, rooms]).integers(0, rooms, (number, rooms))
    counts = np.zeros((number, rooms))
    np.add.at(counts, (np.arange(number)[:, None], draws), 1.0)
    return counts


def interval_of(
    estimate: Estimate, *, confidence: float = CONFIDENCE, number: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Return the interval of an estimate.

    Args:
        estimate: of anything.
        confidence: coverage.
        number: draws of the error.
        seed: of the draws.

    Raises:
        ConfigError: a confidence or number of draws without meaning.
    """
    if not 0.0 < confidence < 1.0:
        raise ConfigError("A confidence level lies between 0 and 1", expected="such as 0.95", found=confidence)
    if number < 1:
        raise ConfigError("At least one resample is needed", expected="such as 2000", found=number)
    rooms = len(estimate.rooms)
    reason = estimate.too_few
    if not reason and not estimate.error > 1e-12 * max(abs(estimate.value), 1e-300):
        reason = "the same in every room"
    if reason:
        return Interval(estimate.value, math.nan, math.nan, estimate.n_clips, rooms, reason)
    tail = 50.0 * (1.0 - confidence)
    low, high = estimate.error * np.percentile(studentised(estimate, number, seed), (tail, 100.0 - tail))
    value = estimate.value
    return Interval(value, value - float(high), value - float(low), estimate.n_clips, rooms)
