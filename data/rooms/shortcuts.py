"""How far image height gives distance away: the realised correlation and the shares of telling pairs.

Of a pair of objects the farther one usually stands higher in the image ("Why Far Looks Up", arXiv 2605.30161): such
pairs are consistent, the opposite ones counter, and those at almost the same height ambiguous.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.scene import SHELL_LABELS

AMBIGUOUS = 0.05
"""Pairs whose centres differ by less than this share of the image height tell nothing."""
MIN_SHARE = 12 / (96 * 128)
"""Objects below this share of the image's pixels don't count."""


class Shortcuts(NamedTuple):
    """Counts over some frames; `spearman` is the mean over frames with three or more objects, or None."""

    consistent: int
    counter: int
    ambiguous: int
    spearman: float | None

    @property
    def pairs(self) -> int:
        """Number of pairs of objects."""
        return self.consistent + self.counter + self.ambiguous

    def shares(self) -> tuple[float, float, float] | None:
        """Return the shares of consistent, counter and ambiguous pairs; None without pairs."""
        if not self.pairs:
            return None
        return self.consistent / self.pairs, self.counter / self.pairs, self.ambiguous / self.pairs


def count_pairs(frames: Iterable[tuple[NDArray[np.uint16], NDArray[np.float32]]]) -> Shortcuts:
    """Count the pairs of objects in frames, walls, floor and ceiling left out.

    Args:
        frames: instance map and depth of each frame, (H, W); instances 1..6 are the shell.
    """
    tally, correlations = np.zeros(3, int), []
    for instance, depth in frames:
        rows, depths = _centres(instance, depth)
        if len(rows) > 2:
            correlations.append(_spearman(-rows, depths))
        first, second = np.triu_indices(len(rows), 1)
        lower = rows[first] - rows[second]
        ambiguous = np.abs(lower) < AMBIGUOUS * instance.shape[0]
        consistent = ~ambiguous & ((lower < 0) == (depths[first] > depths[second]))
        tally += [int(consistent.sum()), int((~ambiguous & ~consistent).sum()), int(ambiguous.sum())]
    mean = float(np.mean(correlations)) if correlations else None
    return Shortcuts(int(tally[0]), int(tally[1]), int(tally[2]), mean)


def _centres(
    instance: NDArray[np.uint16], depth: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean image row and median depth of every object that is large enough."""
    counts = np.bincount(instance.ravel())
    large = np.flatnonzero(counts >= max(1.0, MIN_SHARE * instance.size))
    rows, depths = [], []
    for number in large[large > len(SHELL_LABELS)]:
        at = np.nonzero(instance == number)
        rows.append(float(at[0].mean()))
        depths.append(float(np.median(depth[at])))
    return np.array(rows), np.array(depths)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
