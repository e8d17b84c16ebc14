"""The similarity measures: each turns a batch of samples into a vector of pairs, and compares arrays by inner products.

A measure looks at a batch of n samples only through the n (n - 1) / 2 pairs of different samples. Its vector v of an
array is scaled such that, for two arrays a and b,

- CKA: v_a . v_b is the unbiased estimate of HSIC with linear kernels (Song et al. 2012, "Feature selection via
  dependence maximization"), written with U-centred Gram matrices (Székely and Rizzo 2014, "Partial distance
  correlation");
- RSA: v_a . v_b is Spearman's correlation of the dissimilarities 1 - r, where r is Pearson's correlation over channels
  of two samples (Kriegeskorte et al. 2008, "Representational similarity analysis").

Over batches the products are summed, and similarity = sum v_a . v_b / sqrt(sum v_a . v_a  sum v_b . v_b): for CKA
this is the minibatch estimate of Nguyen et al. (2021, arXiv 2010.15327), debiased as in Murphy et al. (2024, arXiv
2405.01012). A permutation of the samples of b permutes the entries of v_b, and leaves v_b . v_b as it is.

The robust variants first replace each value by its rank among the batch's values of the same channel. Plain CKA is
dominated by the channels of largest variance and by single far samples (Davari et al. 2022, arXiv 2210.16156): a few
massive activations decide it. Ranks give all channels one scale and bound every sample; they need no threshold and no
earlier pass over the store. The price: robust values change under rotations of the channels, and channels of noise
count as much as others.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
LEAST_SAMPLES = 4
"""Samples that the unbiased estimate of HSIC needs."""


class Measure(NamedTuple):
    """One measure.

    Attributes:
        title: for tables.
        ranks: whether channels are replaced by their ranks first.
        vector: (n, channels) float64 -> (n (n - 1) / 2,) float64, pairs in the order of `numpy.triu_indices(n, 1)`.
    """

    title: str
    ranks: bool
    vector: Callable[[FloatArray], FloatArray]


def hsic_vector(samples: FloatArray) -> FloatArray:
    """Return the U-centred linear Gram matrix above its diagonal, scaled by sqrt(2 / (n (n - 3))).

    Args:
        samples: (n, channels) float64, n >= 4; shifts of a channel change nothing.

    Returns:
        (n (n - 1) / 2,) float64; all zero for samples that are all equal.
    """
    count = len(samples)
    centred = samples - samples.mean(axis=0)  # changes no value; without it large means would cost digits
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    sums = gram.sum(axis=0) / (count - 2)
    gram -= sums[:, None] + sums[None, :] - sums.sum() / (count - 1)
    return _above_diagonal(gram) * math.sqrt(2 / (count * (count - 3)))


def rsa_vector(samples: FloatArray) -> FloatArray:
    """Return the centred ranks of all correlation distances between samples, of length 1.

    Args:
        samples: (n, channels) float64. A sample that is the same in all channels has distance 1 from all others.

    Returns:
        (n (n - 1) / 2,) float64; all zero if all distances are equal.
    """
    from scipy.stats import rankdata

    centred = samples - samples.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    units = np.divide(centred, lengths, out=np.zeros_like(centred), where=lengths > 0)
    distances = 1 - _above_diagonal(units @ units.T)
    # In float32: distances that differ in the last bits of the sums only are ties.
    ranks = np.asarray(rankdata(distances.astype(np.float32)), np.float64)
    ranks -= ranks.mean()
    length = float(np.linalg.norm(ranks))
    return ranks / length if length > 0 else ranks


def channel_ranks(samples: FloatArray) -> FloatArray:
    """Return the rank of each value among those of its channel, equal ones averaged, scaled to (-0.5, 0.5).

    Args:
        samples: (n, channels) float64.
    """
    from scipy.stats import rankdata

    ranks = np.asarray(rankdata(samples, axis=0), np.float64)
    return (ranks - (len(samples) + 1) / 2) / len(samples)


MEASURES = {
    "cka": Measure("CKA", False, hsic_vector),
    "cka_robust": Measure("robust CKA", True, hsic_vector),
    "rsa": Measure("RSA", False, rsa_vector),
    "rsa_robust": Measure("robust RSA", True, rsa_vector),
}
"""All measures by their names (`cache.similarity.names.MEASURES`)."""


def pair_vectors(samples: FloatArray, measures: tuple[str, ...]) -> list[FloatArray]:
    """Return the vector of each measure for one array of a batch.

    Args:
        samples: (n, channels) float64, n >= 4.
        measures: names in `MEASURES`.
    """
    ranked = channel_ranks(samples) if any(MEASURES[name].ranks for name in measures) else samples
    return [MEASURES[name].vector(ranked if MEASURES[name].ranks else samples) for name in measures]


def permuted_pairs(permutation: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of pairs that a permutation of samples makes: v[result] is the vector of samples[permutation].

    Args:
        permutation: (n,) int64.

    Returns:
        (n (n - 1) / 2,) int64, indexes of pairs.
    """
    count = len(permutation)
    first, second = np.triu_indices(count, 1)
    first, second = permutation[first], permutation[second]
    low, high = np.minimum(first, second), np.maximum(first, second)
    return np.asarray(low * count - low * (low + 1) // 2 + high - low - 1, np.int64)


def _above_diagonal(matrix: FloatArray) -> FloatArray:
    return np.asarray(matrix[np.triu_indices(len(matrix), 1)], np.float64)
