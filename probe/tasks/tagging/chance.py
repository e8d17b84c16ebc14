"""What mAP random rankings of the same labels reach: the level, and the band, that any ranking has to leave."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RANKINGS = 1000
"""Random rankings of each class."""


class Chance(NamedTuple):
    """Mean mAP of random rankings, and the ends between which 95 % of them lie; NaN without a positive."""

    mean: float
    low: float
    high: float


def random_rankings(labels: NDArray[np.bool_], *, number: int = RANKINGS, seed: int = 0) -> Chance:
    """Return the mAP of random rankings of a split's clips, independent for each class.

    With few clips it lies well above the share of positives, which is the average precision of equal scores.

    Args:
        labels: (N, C) positives.
        number: rankings.
        seed: of the rankings.
    """
    return _random_rankings(len(labels), tuple(int(count) for count in labels.sum(axis=0) if count), number, seed)


@lru_cache(maxsize=64)
def _random_rankings(clips: int, counts: tuple[int, ...], number: int, seed: int) -> Chance:
    draw = np.random.default_rng(seed)
    found = np.zeros((number, len(counts)))
    for column, positives in enumerate(counts):
        # the places of the positives in a random order of the clips are all that matters
        order = np.argsort(draw.random((number, clips)), axis=1)[:, :positives]
        places = np.sort(order, axis=1) + 1.0
        found[:, column] = (np.arange(1, positives + 1) / places).mean(axis=1)
    if not found.shape[1]:
        return Chance(np.nan, np.nan, np.nan)
    mean = found.mean(axis=1)
    low, high = np.percentile(mean, (2.5, 97.5))
    return Chance(float(mean.mean()), float(low), float(high))
