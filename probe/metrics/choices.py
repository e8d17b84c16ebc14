"""What the best of several candidates is worth, such as the best layer, if the reported clips themselves chose it.

The winner's score is too good, and its own interval too narrow. An interval that holds for all candidates at once
(max-t) holds for the winner too, and a side is better only where its winner beats every candidate of the other side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probe.metrics.comparison import Difference, compare_with_zero, max_t, max_t_draws
from probe.metrics.statistics import CONFIDENCE, RESAMPLES, Estimate, Interval, contrast, interval_of

PAIR_DRAWS = 1999
"""Draws of the largest statistic of all pairs of candidates."""


def interval_of_choice(
    candidates: Sequence[Estimate],
    chosen: int,
    *,
    confidence: float = CONFIDENCE,
    number: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the interval of one candidate that holds for all of them at once.

    Args:
        candidates: on the same rooms.
        chosen: index of the one that is shown.
        confidence, number, seed: as in `interval_of`.
    """
    own = interval_of(candidates[chosen], confidence=confidence, number=number, seed=seed)
    if own.reason or len(candidates) < 2:
        return own
    usable = [candidate for candidate in candidates if not candidate.too_few and candidate.error > 0]
    largest = max_t_draws(usable, number, seed)
    half = float(np.quantile(largest, confidence)) * candidates[chosen].error
    return replace(own, low=own.value - half, high=own.value + half)


def difference_of_choices(
    first: Sequence[Estimate],
    second: Sequence[Estimate],
    ours: int,
    theirs: int,
    *,
    higher: bool = True,
    confidence: float = CONFIDENCE,
    number: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """Compare the chosen candidates of two sides.

    The p value is the largest of the leading side's winner against every candidate of the other side, each adjusted for
    all pairs of candidates; the interval holds for all pairs at once.

    Args:
        first, second: candidates of each side, on the same rooms.
        ours, theirs: index of the chosen one of each side.
        higher: whether higher values are better.
        confidence, number, seed: as in `interval_of`.
    """
    pairs = [(i, j) for i in range(len(first)) for j in range(len(second))]
    differences = [contrast((1, -1), (first[i], second[j])) for i, j in pairs]
    chosen = differences[pairs.index((ours, theirs))]
    plain = compare_with_zero(chosen, confidence=confidence, number=number, seed=seed)
    if len(pairs) < 2 or plain.interval.reason or not all(d.error > 0 for d in differences):
        return plain
    half = float(np.quantile(max_t_draws(differences, PAIR_DRAWS, seed), confidence)) * chosen.error
    value = plain.interval.value
    interval = replace(plain.interval, low=value - half, high=value + half)
    if plain.reason:
        return replace(plain, interval=interval)
    adjusted = max_t(differences, number=PAIR_DRAWS, seed=seed)
    side = 0 if (value > 0) == higher else 1
    p_value = max(
        float(p) if value * difference.value > 0 else 1.0
        for p, difference, pair in zip(adjusted, differences, pairs, strict=True)
        if pair[side] == (ours, theirs)[side]
    )
    return replace(plain, interval=interval, p_value=max(p_value, plain.p_value), test="max-t over candidates")
