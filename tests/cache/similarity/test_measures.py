"""The arithmetic of one batch, against published formulas written out, SciPy, and what must not change a value."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, rankdata, spearmanr

from cache.similarity.measures import MEASURES, FloatArray, pair_vectors, permuted_pairs
from cache.similarity.names import MEASURES as NAMES


def song(x: FloatArray, y: FloatArray) -> float:
    """The unbiased estimate of HSIC of Song et al. (2012), term by term, with linear kernels."""
    n = len(x)
    k, kernel = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(kernel, 0)
    one = np.ones(n)
    terms = np.trace(k @ kernel)
    terms += (one @ k @ one) * (one @ kernel @ one) / ((n - 1) * (n - 2))
    terms -= 2 / (n - 2) * (one @ k @ kernel @ one)
    return float(terms / (n * (n - 3)))


def biased(x: FloatArray, y: FloatArray) -> float:
    """Plain CKA with the biased estimate of HSIC (Kornblith et al. 2019)."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    cross, a, b = (np.linalg.norm(p.T @ q) for p, q in ((x, y), (x, x), (y, y)))
    return float(cross**2 / (a * b))


def value(name: str, x: FloatArray, y: FloatArray) -> float:
    (a,), (b,) = pair_vectors(x, (name,)), pair_vectors(y, (name,))
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def gaussian(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal(shape)


def test_names_agree() -> None:
    assert tuple(MEASURES) == NAMES


@pytest.mark.parametrize("count", [4, 5, 37])
def test_hsic_is_that_of_song(count: int) -> None:
    x = gaussian(count, 6) + 3
    y = np.hstack([x[:, :2] ** 2, gaussian(count, 9, seed=1)])
    for p, q in ((x, y), (x, x), (y, x)):
        (a,), (b,) = pair_vectors(p, ("cka",)), pair_vectors(q, ("cka",))
        assert a @ b == pytest.approx(song(p, q), rel=1e-10)


@pytest.mark.parametrize("shift", [0.0, 1e6])
def test_cka_ignores_rotation_scale_and_shift(shift: float) -> None:
    x = gaussian(30, 12) * np.geomspace(0.1, 10, 12)
    turned = 7 * x @ ortho_group.rvs(12, random_state=1) + shift
    assert value("cka", x, turned) == pytest.approx(1, abs=1e-7)
    assert value("cka", x, x * np.geomspace(1000, 1, 12)) < 0.5  # scaling single channels is something else


def test_robust_variants_ignore_increasing_functions_of_a_channel() -> None:
    x = gaussian(30, 12)
    for name in ("cka_robust", "rsa_robust"):
        assert value(name, x, np.exp(x * np.geomspace(0.1, 3, 12)) - 5) == pytest.approx(1, abs=1e-9)
        assert value(name, x, x + 0.5 * gaussian(30, 12, seed=1)) < 0.99


def test_debiased_cka_of_independent_features_is_zero_where_the_biased_one_is_large() -> None:
    """With more channels than samples any two random features look alike to the biased estimate."""
    pairs = [(gaussian(24, 200, seed=s), gaussian(24, 300, seed=1000 + s)) for s in range(40)]
    plain = [biased(*pair) for pair in pairs]
    debiased = [value("cka", *pair) for pair in pairs]
    assert min(plain) > 0.8
    assert abs(np.mean(debiased)) < 4 * np.std(debiased) / np.sqrt(40)
    assert max(map(abs, debiased)) < 0.3


def test_rsa_is_spearmans_correlation_of_correlation_distances() -> None:
    x = gaussian(25, 10)
    y = x[:, :6] + gaussian(25, 6, seed=2)
    expected = spearmanr(pdist(x, "correlation"), pdist(y, "correlation")).statistic
    assert 0.1 < expected < 0.9
    assert value("rsa", x, y) == pytest.approx(expected, abs=1e-4)  # distances are ranked in float32
    ranked = [rankdata(z, axis=0) - (len(z) + 1) / 2 for z in (x, y)]
    expected = spearmanr(*(pdist(z, "correlation") for z in ranked)).statistic
    assert value("rsa_robust", x, y) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_permutation_of_samples_permutes_the_pairs(name: str) -> None:
    x, order = gaussian(9, 5), np.random.default_rng(3).permutation(9)
    (moved,), (still,) = pair_vectors(x[order], (name,)), pair_vectors(x, (name,))
    np.testing.assert_allclose(still[permuted_pairs(order)], moved, atol=1e-12)


@pytest.mark.parametrize("kind", ["channels", "rows"])
def test_massive_activations_move_plain_cka_and_not_the_robust_one(kind: str) -> None:
    """The same shared signal, once as it is, once with activations 1000 times larger in a few places of each side."""
    rng = np.random.default_rng(5)
    signal = rng.standard_normal((80, 20))
    x, y = (signal @ rng.standard_normal((20, 64)) + rng.standard_normal((80, 64)) for _ in "xy")
    massive_x, massive_y = x.copy(), y.copy()
    if kind == "channels":  # two of 64 channels of each, unrelated ones
        massive_x[:, :2] = 1000 * rng.standard_normal((80, 2))
        massive_y[:, 5:7] = 1000 * rng.standard_normal((80, 2))
    else:  # two of 80 rows, other ones on either side
        massive_x[:2] *= 1000
        massive_y[5:7] *= 1000
    plain, robust = value("cka", x, y), value("cka_robust", x, y)
    assert plain > 0.5 and robust > 0.5
    assert value("cka", massive_x, massive_y) < 0.2
    assert value("cka_robust", massive_x, massive_y) == pytest.approx(robust, abs=0.12)


def test_a_shared_massive_channel_feigns_similarity_to_plain_cka_only() -> None:
    x, y = gaussian(80, 64), gaussian(80, 64, seed=1)
    x[:, 3] = y[:, 8] = 1000 * gaussian(80, seed=2)
    assert value("cka", x, y) > 0.99
    assert abs(value("cka_robust", x, y)) < 0.2


@pytest.mark.parametrize("name", NAMES)
def test_equal_samples_give_zero_vectors(name: str) -> None:
    (vector,) = pair_vectors(np.full((6, 4), 2.5), (name,))
    assert not vector.any()
