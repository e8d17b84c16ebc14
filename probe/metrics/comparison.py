"""Two models on the same clips: difference, interval, p value, effect size; and correction for many comparisons."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from probe.metrics.arrays import FloatArray, require_array
from probe.metrics.statistics import Floats, Interval, Resamples, require_no_infinity

EXACT_ROOMS = 12
"""Up to so many rooms all sign flips are enumerated."""
FLIPS = 19_999
"""Random sign flips beyond: p values go down to 1 / 20000, so that a correction for hundreds of comparisons leaves some
below 0.05. They cost next to nothing, unlike resamples of a statistic."""


@dataclass(frozen=True)
class PairedDifference:
    """Difference of two models on the same clips.

    Attributes:
        interval: of the difference a - b.
        p_value: two-sided, of no difference; NaN with fewer than two rooms.
        smallest: smallest p value that this number of rooms, and of resamples, allows.
        effect: difference in standard deviations between rooms; NaN with fewer than three rooms or without spread.
        rooms: mean difference of each room with a value; empty for metrics of the whole split.
        test: `sign flips, exact`, `sign flips` or `bootstrap, bounded by sign flips`.
    """

    interval: Interval
    p_value: float
    smallest: float
    effect: float
    rooms: tuple[float, ...]
    test: str


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
        NonFiniteError: an infinite value.
    """
    fix = "pass one value per clip, of the same clips for both models"
    require_array(first, (None,), "float", "values of the first model", fix=fix)
    require_array(second, first.shape, "float", "values of the second model", fix=fix)
    names = np.asarray(groups)
    require_array(names, first.shape, None, "rooms of the clips", fix="pass one room per clip")
    require_no_infinity(first, "values of the first model")
    require_no_infinity(second, "values of the second model")
    difference = np.asarray(first, np.float64) - np.asarray(second, np.float64)
    draws = Resamples.draw(names, n_resamples, confidence, seed)
    interval = draws.interval_of_mean(difference)
    rooms = draws.room_means(difference)
    rooms = rooms[~np.isnan(rooms)]
    spread = float(rooms.std(ddof=1)) if len(rooms) > 2 else math.nan
    effect = float(rooms.mean()) / spread if spread > 1e-12 else math.nan
    smallest, each = smallest_p(interval.n_groups), tuple(rooms.tolist())
    if interval.n_groups < 2:
        return PairedDifference(interval, math.nan, smallest, effect, each, "sign flips")
    known = ~np.isnan(difference)
    unique, index = np.unique(names[known], return_inverse=True)
    totals = np.bincount(index, difference[known], len(unique))
    exact = len(unique) <= EXACT_ROOMS
    signs = _signs(len(unique), 2 ** len(unique) if exact else n_flips, None if exact else seed)
    # sums of the same numbers in another order differ in the last bits: without slack, ties would be missed
    extreme = np.abs(signs @ totals) >= abs(totals.sum()) - 1e-9 * np.abs(totals).sum()
    p_value = float(extreme.mean()) if exact else float((extreme.sum() + 1) / (n_flips + 1))
    return PairedDifference(interval, p_value, smallest, effect, each, "sign flips, exact" if exact else "sign flips")


def paired_resamples(difference: float, samples: Floats, draws: Resamples) -> PairedDifference:
    """Difference of a statistic of the whole split (mAP) between two models, under the same resamples.

    The two-sided p value is twice the smaller share of resamples on either side of zero, counting one more on each
    side so that it is never 0, but never below what sign flips of that many rooms could give: with few rooms a
    bootstrap promises too much.

    Args:
        difference: on all clips.
        samples: (R,) difference under each resample of `draws`; NaN is left out.
        draws: the resamples.
    """
    interval = draws.interval(difference, samples, len(draws.rooms))
    known = samples[~np.isnan(samples)]
    smallest = max(smallest_p(draws.n_rooms), 2.0 / (len(known) + 1))
    p_value, effect = math.nan, math.nan
    if not interval.reason:
        side = min(int((known <= 0).sum()), int((known >= 0).sum()))
        p_value = max(min(1.0, 2.0 * (side + 1) / (len(known) + 1)), smallest)
        spread = float(known.std(ddof=1)) * math.sqrt(draws.n_rooms) if len(known) > 1 else 0.0
        effect = difference / spread if spread > 1e-12 and draws.n_rooms > 2 else math.nan
    test = "bootstrap, bounded by sign flips"
    return PairedDifference(interval, p_value, smallest, effect, (), test)


@lru_cache(maxsize=4)
def _signs(rooms: int, number: int, seed: int | None) -> NDArray[np.float64]:
    """Return (number, rooms) of -1 and 1: all assignments without a seed, else random ones, the same for every pair."""
    if seed is None:
        bits = np.arange(number)[:, None] >> np.arange(rooms) & 1
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (number, rooms), dtype=np.int8)
    signs: NDArray[np.float64] = np.where(bits, -1.0, 1.0)
    return signs


def smallest_p(rooms: int) -> float:
    """Return the smallest p value of sign flips of that many rooms; NaN with fewer than two."""
    if rooms < 2:
        return math.nan
    return 2.0 ** (1 - rooms) if rooms <= EXACT_ROOMS else max(2.0 ** (1 - rooms), 1.0 / (FLIPS + 1))


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
