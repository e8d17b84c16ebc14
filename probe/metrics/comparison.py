"""Differences of models on the same clips: interval, p value, effect size; and correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from probe.metrics.arrays import FloatArray
from probe.metrics.statistics import (
    CONFIDENCE,
    RESAMPLES,
    Estimate,
    Floats,
    Interval,
    contrast,
    estimate_mean,
    interval_of,
    require_no_infinity,
    require_seeds,
    resampled_means,
    studentised,
    with_others,
)

EXACT_ROOMS = 12
"""Up to so many rooms all sign flips are enumerated."""
DRAWS = 19_999
"""Random sign flips beyond, and draws of the error of a test: p values go down to 1 / 20000, so that a correction for
hundreds of comparisons leaves some below 0.05."""


@dataclass(frozen=True)
class Difference:
    """A difference, or another contrast, that is tested against zero.

    Attributes:
        interval: of the difference.
        p_value: two-sided, of no difference; NaN without a test.
        smallest: smallest p value that this number of rooms and draws allows.
        effect: difference in standard deviations between rooms; NaN with fewer than three rooms or without spread.
        rooms: difference of each room with a value; empty for metrics of the whole split.
        test: what the p value is from; `none` without a test.
        reason: why there is no test; empty if there is one.
    """

    interval: Interval
    p_value: float
    smallest: float
    effect: float
    rooms: tuple[float, ...]
    test: str
    reason: str = ""


def paired_estimate(
    first: FloatArray, second: FloatArray, groups: Sequence[Any] | NDArray[Any]
) -> tuple[Estimate, Estimate]:
    """Estimate the means of two models over the clips where all seeds of both have a value.

    Args:
        first: (S, N) or (N,), NaN = undefined.
        second: (T, N) or (N,), same clips.
        groups: (N,) room of each clip: names or numbers, in a sequence or an array.

    Raises:
        DatasetError: not one room and one value of each model per clip, or values that are not arrays of floats.
        NonFiniteError: an infinite value.
    """
    a = require_seeds(first, "values of the first model")
    b = require_seeds(second, "values of the second model", a.shape[1])
    for values, name in ((a, "values of the first model"), (b, "values of the second model")):
        require_no_infinity(values, name)
    known = ~(np.isnan(a).any(axis=0) | np.isnan(b).any(axis=0))
    return estimate_mean(np.where(known, a, np.nan), groups), estimate_mean(np.where(known, b, np.nan), groups)


def paired_difference(
    first: FloatArray,
    second: FloatArray,
    groups: Sequence[Any] | NDArray[Any],
    *,
    confidence: float = CONFIDENCE,
    number: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Test the difference of two models by a metric that clips have: see `paired_estimate` and `compare_with_zero`."""
    return compare_with_zero(
        contrast((1, -1), paired_estimate(first, second, groups)), confidence=confidence, number=number, seed=seed
    )


def compare_with_zero(
    estimate: Estimate, *, confidence: float = CONFIDENCE, number: int = RESAMPLES, seed: int = 0
) -> Difference:
    """Test whether a contrast is zero.

    Means of rooms: the larger p value of two tests, of random sign flips of rooms and of the bootstrap-t that also
    gives the interval. Pooled metrics: of the jackknife's t. Seeds add to the error, see `studentised`; with a single
    seed on one side nothing is tested.

    Args:
        estimate: of a difference, an average of differences or the like.
        confidence: coverage of the interval.
        number: draws of the interval.
        seed: of all draws.

    Raises:
        ConfigError: a confidence or number of draws without meaning.
    """
    interval = interval_of(estimate, confidence=confidence, number=number, seed=seed)
    rooms, count = estimate.rooms, len(estimate.rooms)
    spread = float(rooms.std(ddof=1)) if count > 2 else math.nan
    effect = estimate.value / spread if spread > 1e-12 else math.nan
    each = () if estimate.pooled else tuple(rooms.tolist())
    why = estimate.too_few or ("one seed: its spread is not known" if estimate.single_seed else "")
    if why:
        return Difference(interval, math.nan, math.nan, effect, each, "none", why)
    smallest = 1.0 / (DRAWS + 1) if estimate.pooled else smallest_p(count)
    p_value = _p_of_errors(estimate, seed)
    if not estimate.pooled:
        p_value = max(p_value, _p_of_flips(rooms, seed))
    seeds = " with seeds" if estimate.others_error[0] else ""
    test = ("jackknife" if estimate.pooled else "sign flips and bootstrap-t") + seeds
    return Difference(interval, p_value, smallest, effect, each, test)


def _p_of_errors(estimate: Estimate, seed: int) -> float:
    if not estimate.error > 1e-12 * max(abs(estimate.value), 1e-300):
        return 1.0 if estimate.value == 0 else 1.0 / (DRAWS + 1)
    drawn, observed = studentised(estimate, DRAWS, seed), estimate.value / estimate.error
    side = min(int((drawn >= observed).sum()), int((drawn <= observed).sum()))
    return min(1.0, 2.0 * (side + 0.5) / (DRAWS + 1))


def _p_of_flips(rooms: Floats, seed: int) -> float:
    """P value of the sum under flips of the sign of whole rooms, as no difference would allow."""
    exact = len(rooms) <= EXACT_ROOMS
    signs = _signs(len(rooms), 2 ** len(rooms) if exact else DRAWS, None if exact else seed)
    # sums of the same numbers in another order differ in the last bits: without slack, ties would be missed
    extreme = np.abs(signs @ rooms) >= abs(rooms.sum()) - 1e-9 * np.abs(rooms).sum()
    return float(extreme.mean()) if exact else float((extreme.sum() + 1) / (DRAWS + 1))


@lru_cache(maxsize=4)
def _signs(rooms: int, number: int, seed: int | None) -> Floats:
    """Return (number, rooms) of -1 and 1: all assignments without a seed, else random ones, the same for every pair."""
    if seed is None:
        bits = np.arange(number)[:, None] >> np.arange(rooms) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (number, rooms), dtype=np.int8)
    signs: Floats = np.where(bits, -1.0, 1.0)
    return signs


def smallest_p(rooms: int) -> float:
    """Return the smallest p value of sign flips of that many rooms; NaN with fewer than two."""
    if rooms < 2:
        return math.nan
    return 2.0 ** (1 - rooms) if rooms <= EXACT_ROOMS else max(2.0 ** (1 - rooms), 1.0 / (DRAWS + 1))


# ---- models as a sample of models


def contrast_of_kinds(first: Sequence[Estimate], second: Sequence[Estimate]) -> Estimate:
    """Estimate the difference of two kinds of models, whose models are a sample as the rooms are.

    The variance is that of rooms plus that of models minus their interaction, which both contain (two-way random
    effects), with Satterthwaite's degrees of freedom.

    Args:
        first, second: at least two models each, of the same rooms.

    Raises:
        ConfigError: a single model on a side.
    """
    sides = (first, second)
    if min(map(len, sides)) < 2:
        raise ConfigError("models of a kind are a sample from two on", found=[len(side) for side in sides])
    averages = [contrast([1 / len(side)] * len(side), side) for side in sides]
    whole = contrast((1, -1), averages)
    if math.isnan(whole.value):
        return whole
    rooms, others = len(whole.rooms), []
    for side in sides:
        values = np.array([estimate.value for estimate in side])
        table = np.stack([estimate.rooms for estimate in side])
        rest = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
        degrees = (len(side) - 1) * (rooms - 1)
        interaction = float((rest**2).sum()) / degrees / rooms
        others.append((max(float(values.var(ddof=1)) - interaction, 0.0) / len(side), len(side) - 1))
    return replace(whole, others=tuple(others))


# ---- many comparisons


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's step-down correction: adjusted p values that control the family-wise error rate.

    Args:
        p_values: comparison -> p value; NaN stays NaN and is not part of the family.

    Returns:
        comparison -> adjusted p value in [0, 1], in the order given.

    Raises:
        ConfigError: a p value outside [0, 1].
    """
    bad = {name: p for name, p in p_values.items() if not (math.isnan(p) or 0.0 <= p <= 1.0)}
    if bad:
        raise ConfigError("A p value lies between 0 and 1", expected="[0, 1]", found=bad, where="p_values")
    adjusted = dict.fromkeys(p_values, math.nan)
    family = sorted((name for name, p in p_values.items() if not math.isnan(p)), key=lambda name: p_values[name])
    highest = 0.0
    for rank, name in enumerate(family):
        highest = max(highest, min(1.0, (len(family) - rank) * p_values[name]))
        adjusted[name] = highest
    return adjusted


def max_t(estimates: Sequence[Estimate], *, number: int = DRAWS, seed: int = 0) -> Floats:
    """Return (K,) p values of K contrasts, adjusted by the distribution of the largest statistic of all.

    The signs of whole rooms are flipped for all contrasts at once, so that what they share counts once; seeds and the
    like add their own errors. Stronger than Holm's correction.

    Args:
        estimates: of any contrasts, each on the rooms where it has values.
        number: flips.
        seed: of the flips.
    """
    largest = np.zeros(number)
    observed = np.zeros(len(estimates))
    for i, estimate in enumerate(estimates):
        if not estimate.error > 0:
            continue  # the same on both sides
        rooms, count = estimate.rooms, len(estimate.rooms)
        mean = _signs(count, number, seed) @ rooms / count
        # flips leave the sum of squares as it is
        variance = np.maximum(float((rooms**2).mean()) - mean**2, 0.0) / (count - 1)
        np.maximum(largest, np.abs(with_others(mean, variance, estimate, seed, i)), out=largest)
        observed[i] = abs(estimate.value) / estimate.error
    found: Floats = (1.0 + (largest[:, None] >= observed * (1 - 1e-9)).sum(axis=0)) / (number + 1)
    return found


def max_t_draws(estimates: Sequence[Estimate], number: int, seed: int) -> Floats:
    """Return (R,) draws of the largest absolute error of several estimates in units of its standard error.

    Rooms are resampled for all estimates at once, also for pooled metrics: their values of the rooms.
    """
    largest = np.zeros(number)
    for i, estimate in enumerate(estimates):
        mean, variance = resampled_means(estimate.rooms, number, seed)
        np.maximum(largest, np.abs(with_others(mean, variance, estimate, seed, i)), out=largest)
    return largest
