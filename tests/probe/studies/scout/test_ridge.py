"""Ridge solutions against scikit-learn, least squares on augmented rows, and direct solves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge as Reference
from sklearn.preprocessing import StandardScaler

from probe.studies.scout.ridge import Floats, Gram, Ridge
from probe.studies.scout.scout import PENALTIES

CASES = {"more rows than channels": (60, 7), "as many": (9, 9), "fewer": (6, 25), "one row": (1, 4)}


def data(rows: int, channels: int, outputs: int = 3, seed: int = 0) -> tuple[Floats, Floats]:
    """Channels of very different sizes far from 0, and targets that depend on some of them."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, channels)) * np.logspace(-2, 3, channels) + 100 * rng.standard_normal(channels)
    y = x[:, :1] * rng.standard_normal(outputs) + rng.standard_normal((rows, outputs)) + 5
    return x, y


def solved(x: Floats, y: Floats, block: int = 10) -> Ridge:
    gram = Gram(x.shape[1], y.shape[1])
    for start in range(0, len(x), block):
        gram.add(x[start : start + block], y[start : start + block])
    return gram.solve()


@pytest.mark.parametrize("case", CASES)
def test_every_penalty_equals_scikit_learn(case: str) -> None:
    x, y = data(*CASES[case])
    new = data(*CASES[case], seed=1)[0]
    ridge = solved(x, y)
    assert ridge.dual == (len(x) < x.shape[1])
    scaler = StandardScaler().fit(x)
    for penalty, found in zip(PENALTIES, ridge.predict(new, PENALTIES), strict=True):
        # an exact solver: the default one loses digits where the penalty is small
        reference = Reference(alpha=penalty * len(x), solver="svd").fit(scaler.transform(x), y)
        np.testing.assert_allclose(found, reference.predict(scaler.transform(new)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_all_penalties_of_one_decomposition_equal_separate_least_squares(case: str) -> None:
    x, y = data(*CASES[case])
    deviation = x.std(axis=0)
    z = (x - x.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    for penalty, found in zip(PENALTIES, solved(x, y).predict(x, PENALTIES), strict=True):
        rows = np.vstack([z, np.sqrt(penalty * len(x)) * np.eye(z.shape[1])])
        wanted = np.vstack([y - y.mean(axis=0), np.zeros((z.shape[1], y.shape[1]))])
        weights = np.linalg.lstsq(rows, wanted, rcond=None)[0]
        np.testing.assert_allclose(found, z @ weights + y.mean(axis=0), rtol=1e-6, atol=1e-6)


def test_the_dual_equals_the_primal() -> None:
    x, y = data(12, 30)
    dual = solved(x, y)
    primal = Gram(30, 3)
    primal.add(x, y)
    primal._fold()
    solution = primal.solve()
    assert dual.dual and not solution.dual
    new = data(5, 30, seed=2)[0]
    np.testing.assert_allclose(dual.predict(new, PENALTIES), solution.predict(new, PENALTIES), rtol=1e-6, atol=1e-6)


def test_blocks_don_t_matter_and_large_means_lose_nothing() -> None:
    x, y = data(50, 6)
    x += 1e7  # sums of squares about 0 would lose all digits of channels whose deviation is 0.01
    whole, single = (solved(x, y, block).predict(x, PENALTIES) for block in (50, 1))
    np.testing.assert_allclose(single, whole, rtol=1e-6, atol=1e-6)
    reference = Reference(alpha=PENALTIES[4] * 50, solver="svd").fit(StandardScaler().fit_transform(x), y)
    wanted = reference.predict(StandardScaler().fit_transform(x))
    np.testing.assert_allclose(whole[4], wanted, rtol=1e-5, atol=1e-5)


def test_rows_within_clips_equal_a_regression_with_one_offset_per_clip() -> None:
    x, y = data(40, 5)
    clips = np.repeat(np.arange(4), 10)
    moved = y + 50 * clips[:, None]
    gram = Gram(5, 3)
    for clip in range(4):
        gram.add(x[clips == clip], moved[clips == clip], within=True)
    ridge = gram.solve()
    indicators = np.eye(4)[clips]
    weights = np.linalg.lstsq(np.hstack([x, indicators]), moved, rcond=None)[0][:5]
    found = (ridge.basis * (1 / ridge.values)) @ ridge.projected * ridge.inverse[:, None]
    np.testing.assert_allclose(found, weights, rtol=1e-8)


@pytest.mark.parametrize("rows", [40, 3])
def test_constant_channels_are_ignored(rows: int) -> None:
    x, y = data(rows, 5)
    more = np.hstack([x, np.full((rows, 1), 0.1), np.repeat([[0.1], [7.3]], [rows // 2, rows - rows // 2], axis=0)])
    gram = Gram(7, 3)
    half = rows // 2
    for part in (slice(half), slice(half, None)):
        gram.add(more[part], y[part], within=True)  # the last channel is constant within both
    found = gram.solve()
    assert list(found.inverse[5:]) == [0, 0] and found.inverse[:5].all()


def test_memory_is_that_of_channels_by_channels() -> None:
    gram = Gram(16, 2)
    for _ in range(100):
        gram.add(np.random.default_rng(0).standard_normal((5, 16)), np.zeros((5, 2)))
        assert sum(len(x) for x, _ in gram._kept) < 16
    assert gram.rows == 500
