"""Ridge regression for all penalties at once: centred moments of a stream of rows, then one eigendecomposition.

Channels are divided by their standard deviation, so that one penalty means the same for all of them and for all
features. With Z (n, C) the standardised regressors and Y (n, K) the centred targets, a penalty a minimises
|Y - Z B|^2 / n + a |B|^2, whose solution is B = V (e + a)^-1 V' Z'Y / n where Z'Z / n = V e V'. That is scikit-learn's
`Ridge(alpha=a * n)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

Floats = NDArray[np.float64]
CONSTANT = 1e-10
"""A channel whose standard deviation is at most this share of its largest value counts as constant, and is ignored."""


@dataclass(frozen=True)
class Ridge:
    """The solutions for all penalties.

    Attributes:
        mean: (C,) of the regressors.
        inverse: (C,) of their standard deviations, 0 for constant channels.
        offset: (K,) mean of the targets.
        basis: (C, r) eigenvectors of the correlations of channels.
        values: (r,) their eigenvalues, not negative.
        projected: (r, K) the targets' covariance with the regressors along each eigenvector.
        rows: samples that were seen.
        dual: whether the samples' and not the channels' products were decomposed.
    """

    mean: Floats
    inverse: Floats
    offset: Floats
    basis: Floats
    values: Floats
    projected: Floats
    rows: int
    dual: bool

    def predict(self, regressors: Floats, penalties: Sequence[float]) -> Floats:
        """Return the predictions (penalties, n, K) for regressors (n, C)."""
        inside = ((regressors - self.mean) * self.inverse) @ self.basis
        shrunk = [self.projected / (self.values + penalty)[:, None] for penalty in penalties]
        return np.stack([inside @ part for part in shrunk]) + self.offset


class Gram:
    """Collects rows; holds never more than about as many numbers as channels x channels.

    Rows are kept as they are while there are fewer of them than channels, and then folded into sums of squares about
    the mean, merged block by block (Chan, Golub and LeVeque 1983) so that no large sums are subtracted.

    Args:
        channels: C.
        outputs: K.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        self.channels, self.rows = channels, 0
        self._kept: list[tuple[Floats, Floats]] = []
        self._waiting = self._folded = 0
        self._mean, self._offset = np.zeros(channels), np.zeros(outputs)
        self._square: Floats | None = None
        self._product = np.zeros((channels, outputs))
        self._largest = np.zeros(channels)

    def add(self, regressors: Floats, targets: Floats, *, within: bool = False) -> None:
        """Take rows: (n, C) and (n, K).

        Args:
            regressors, targets: the rows.
            within: take the mean of these rows from them first.
        """
        if not len(regressors):
            return
        np.maximum(self._largest, np.abs(regressors).max(axis=0), out=self._largest)
        if within:
            regressors, targets = regressors - regressors.mean(axis=0), targets - targets.mean(axis=0)
        self._kept.append((regressors, targets))
        self._waiting += len(regressors)
        self.rows += len(regressors)
        if self._waiting >= self.channels:
            self._fold()

    def _block(self) -> tuple[Floats, Floats]:
        kept = self._kept
        self._kept, self._waiting = [], 0
        return np.concatenate([x for x, _ in kept]), np.concatenate([y for _, y in kept])

    def _fold(self) -> None:
        x, y = self._block()
        count, before = len(x), self._folded
        centre, middle = x.mean(axis=0), y.mean(axis=0)
        x, y = x - centre, y - middle
        if self._square is None:
            self._square = np.zeros((self.channels, self.channels))
        apart, beside = centre - self._mean, middle - self._offset
        weight = before * count / (before + count)
        self._square += x.T @ x
        self._square += np.outer(weight * apart, apart)
        self._product += x.T @ y + np.outer(weight * apart, beside)
        self._folded = before + count
        self._mean += apart * (count / self._folded)
        self._offset += beside * (count / self._folded)

    def solve(self) -> Ridge:
        """Return the solutions; nothing can be added afterwards. At least one row must have been added."""
        if self._square is None:
            return self._solve_dual()
        if self._kept:
            self._fold()
        square, rows = self._square, self.rows
        inverse = self._inverse(np.diagonal(square) / rows)
        square *= inverse
        square *= inverse[:, None] / rows
        values, basis = eigh(square, driver="evd", overwrite_a=True, check_finite=False)
        self._square = None
        projected = basis.T @ (self._product * inverse[:, None] / rows)
        return Ridge(self._mean, inverse, self._offset, basis, values.clip(min=0), projected, rows, dual=False)

    def _solve_dual(self) -> Ridge:
        x, y = self._block()
        rows, mean, offset = len(x), x.mean(axis=0), y.mean(axis=0)
        inverse = self._inverse(x.var(axis=0))
        z = (x - mean) * inverse
        values, vectors = eigh(z @ z.T / rows, driver="evd", overwrite_a=True, check_finite=False)
        real = values > rows * np.finfo(float).eps * max(float(values[-1]), 0.0)
        values, vectors = values[real], vectors[:, real]
        roots = np.sqrt(values * rows)
        basis = z.T @ vectors / roots
        projected = (roots / rows)[:, None] * (vectors.T @ (y - offset))
        return Ridge(mean, inverse, offset, basis, values, projected, rows, dual=True)

    def _inverse(self, variance: Floats) -> Floats:
        deviation = np.sqrt(variance)
        return np.divide(1, deviation, out=np.zeros(self.channels), where=deviation > CONSTANT * self._largest)
