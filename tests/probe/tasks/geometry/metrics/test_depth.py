"""Depth family against loops and scikit-learn, by invariance, and in degenerate clips."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest

from probe.metrics.arrays import FloatArray
from probe.metrics.score import Variant
from probe.tasks.geometry.metrics.depth import DEPTH_KEYS, depth_score
from tests.probe.tasks.geometry.metrics.random_clips import VARIANTS


def depth_twin(
    prediction: FloatArray, truth: FloatArray, variant: Variant, scale: Literal["median", "none"]
) -> list[float]:
    """One pixel after the other."""
    p, g = [float(v) for v in prediction], [float(v) for v in truth]
    if variant == "standard":
        p, g = [a for a, b in zip(p, g, strict=True) if b > 0], [b for b in g if b > 0]
    else:
        p, g = [max(v, 1e-6) for v in p], [max(v, 1e-6) for v in g]
    if not p:
        return [math.nan] * 8

    def median(values: list[float]) -> float:
        ordered, n = sorted(values), len(values)
        low, high = ordered[(n - 1) // 2], ordered[n // 2]
        return low if variant == "paper" else (low + high) / 2

    if scale == "median":
        s = median(g) / median(p)
        p = [v * (min(max(s, 1e-6), 1e6) if variant == "paper" else s) for v in p]
    if variant == "standard":
        p = [max(v, 1e-6) for v in p]
    n = len(p)
    pairs = list(zip(p, g, strict=True))
    return [
        sum(abs(a - b) / b for a, b in pairs) / n,
        sum((a - b) ** 2 / b for a, b in pairs) / n,
        math.sqrt(sum((a - b) ** 2 for a, b in pairs) / n),
        math.sqrt(sum((math.log(a) - math.log(b)) ** 2 for a, b in pairs) / n),
        sum(abs(math.log10(a) - math.log10(b)) for a, b in pairs) / n,
        *(sum(max(a / b, b / a) < 1.25**k for a, b in pairs) / n for k in (1, 2, 3)),
    ]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("scale", ["median", "none"])
@pytest.mark.parametrize("seed", range(6))
def test_depth_family_equals_its_twin(seed: int, scale: Literal["median", "none"], variant: Variant) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.gamma(3.0, size=(2, 5, 6))
    prediction = truth * np.exp(0.4 * rng.normal(size=truth.shape)) * 3
    truth[rng.random(truth.shape) < 0.1] = 0.0
    prediction[rng.random(truth.shape) < 0.1] *= -1
    mask = rng.random(truth.shape) < 0.7
    got = depth_score(prediction, truth, mask, scale=scale, variant=variant)
    expected = depth_twin(prediction[mask], truth[mask], variant, scale)
    np.testing.assert_allclose([got.values[key] for key in DEPTH_KEYS], expected, rtol=1e-10)


def test_depth_agrees_with_scikit_learn() -> None:
    from sklearn.metrics import mean_absolute_percentage_error, root_mean_squared_error

    rng = np.random.default_rng(0)
    truth, prediction = rng.gamma(3.0, size=(1, 9, 9)), rng.gamma(3.0, size=(1, 9, 9))
    got = depth_score(prediction, truth, np.ones(truth.shape, bool), scale="none")
    assert got.values["abs_rel"] == pytest.approx(mean_absolute_percentage_error(truth.ravel(), prediction.ravel()))
    assert got.values["rmse"] == pytest.approx(root_mean_squared_error(truth.ravel(), prediction.ravel()))


@pytest.mark.parametrize("variant", VARIANTS)
def test_depth_is_blind_to_scale_and_perfect_is_zero(variant: Variant) -> None:
    truth = np.random.default_rng(0).gamma(3.0, size=(2, 4, 5))
    every = np.ones(truth.shape, bool)
    got = depth_score(7 * truth, truth, every, variant=variant)
    assert [got.values[key] for key in DEPTH_KEYS] == pytest.approx([0] * 5 + [1] * 3, abs=1e-12)
    noisy = truth * np.exp(np.random.default_rng(1).normal(size=truth.shape))
    one, two = (depth_score(k * noisy, truth, every, variant=variant).values for k in (1, 0.01))
    assert one == pytest.approx(two)


def test_lower_median_in_paper() -> None:
    truth, prediction = np.array([[[2.0, 4.0]]]), np.array([[[1.0, 1.0]]])
    every = np.ones((1, 1, 2), bool)
    assert depth_score(prediction, truth, every, variant="paper").values["abs_rel"] == pytest.approx(0.25)
    assert depth_score(prediction, truth, every).values["abs_rel"] == pytest.approx((0.5 + 0.25) / 2)


def test_scale_is_limited_in_paper() -> None:
    truth, every = np.array([[[8.0, 8.0, 8.0]]]), np.ones((1, 1, 3), bool)
    assert depth_score(0 * truth + 1e-6, truth, every, variant="paper").values["abs_rel"] == pytest.approx(7 / 8)
    assert depth_score(0 * truth + 1e-6, truth, every).values["abs_rel"] == pytest.approx(0.0, abs=1e-12)


def test_delta_is_strict() -> None:
    got = depth_score(np.array([[[1.25]]]), np.array([[[1.0]]]), np.ones((1, 1, 1), bool), scale="none")
    assert (got.values["delta_1"], got.values["delta_2"]) == (0.0, 1.0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_depth_without_meaning(variant: Variant) -> None:
    truth = np.ones((1, 2, 2))
    none, every = np.zeros(truth.shape, bool), np.ones(truth.shape, bool)
    empty = depth_score(truth, truth, none, variant=variant)
    assert set(empty.undefined.values()) == {"no pixel with depth"}
    assert all(math.isnan(value) for value in empty.values.values())
    broken = depth_score(truth * np.nan, truth, every, variant=variant)
    assert set(broken.undefined) == set(DEPTH_KEYS)
    negative = depth_score(-truth, truth, every, variant=variant)
    assert negative.counts["depth_nonpositive"] == 4
    if variant == "standard":
        assert set(negative.undefined.values()) == {"median of predicted depth is not positive"}
        assert depth_score(truth, 0 * truth, every).undefined["abs_rel"] == "no pixel with depth"
    else:  # raised to 1e-6 and scaled back to the median: a perfect score, as published
        assert negative.values["abs_rel"] == pytest.approx(0.0, abs=1e-12)
