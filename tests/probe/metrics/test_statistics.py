"""Estimates, intervals and tests against scipy, closed formulas, brute force and simulated data."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from configs.errors import ConfigError, DatasetError, NonFiniteError
from probe.metrics.arrays import FloatArray, IntArray
from probe.metrics.comparison import (
    compare_with_zero,
    contrast_of_kinds,
    holm,
    max_t,
    paired_difference,
    paired_estimate,
)
from probe.metrics.statistics import (
    MIN_ROOMS,
    MIN_ROOMS_POOLED,
    Estimate,
    Floats,
    Interval,
    contrast,
    estimate_mean,
    estimate_pooled,
    interval_of,
    studentised,
)


def rooms(seed: int, n_rooms: int = 20, per_room: int = 3, spread: float = 1.0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_rooms), per_room)
    return spread * rng.normal(size=n_rooms)[groups] + 0.1 * rng.normal(size=len(groups)), groups


def interval(values: FloatArray, groups: object, **options: float) -> Interval:
    return interval_of(estimate_mean(values, groups), **options)  # type: ignore[arg-type]


def test_the_estimand_is_the_mean_of_room_means() -> None:
    values, groups = np.array([1.0, 1.0, 1.0, 5.0]), ["a", "a", "a", "b"]
    found = estimate_mean(values, groups)
    assert (found.value, found.rooms.tolist(), found.n_clips) == (3.0, [1.0, 5.0], 4)
    gaps = estimate_mean(np.array([[1.0, math.nan, 3.0], [2.0, 2.0, math.nan]]), ["a", "a", "b"])
    assert (gaps.value, gaps.rooms.tolist(), gaps.n_clips) == (1.5, [1.5], 1)


def test_the_bootstrap_is_studentised_as_in_a_loop() -> None:
    values = np.random.default_rng(3).gamma(1.0, size=15)
    number, seed = 400, 5
    draws = np.random.default_rng([seed, 15]).integers(0, 15, (number, 15))
    samples = values[draws]
    expected = (samples.mean(axis=1) - values.mean()) / (samples.std(axis=1, ddof=1) / math.sqrt(15))
    assert studentised(estimate_mean(values, np.arange(15)), number, seed) == pytest.approx(expected)
    found = interval(values, np.arange(15), number=number, seed=seed)
    low, high = np.percentile(expected, (2.5, 97.5)) * values.std(ddof=1) / math.sqrt(15)
    assert (found.low, found.high) == pytest.approx((values.mean() - high, values.mean() - low))


def test_resamples_without_spread_leave_ends_finite() -> None:
    values = np.zeros(14)
    values[:2] = 1.0
    found = interval(values, np.arange(14))
    assert -1 < found.low < values.mean() < found.high < 2
    same = interval(np.full(14, 0.25), np.arange(14))
    assert (same.reason, math.isnan(same.low)) == ("the same in every room", True)


def test_clustering_widens_the_interval_and_order_does_not_matter() -> None:
    values, groups = rooms(1)
    by_room, by_clip = interval(values, groups), interval(values, np.arange(60))
    assert by_room.high - by_room.low > 1.4 * (by_clip.high - by_clip.low)
    order = np.random.default_rng(0).permutation(60)
    again = interval(values[order], groups[order])
    assert (again.low, again.high) == pytest.approx((by_room.low, by_room.high))
    assert interval(values, groups, seed=1).low != by_room.low


@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_is_about_nominal(skewed: bool) -> None:
    """Of rooms with 1 to 30 clips; `make bench-statistics` simulates it at length."""
    covered, rng = 0, np.random.default_rng(0)
    for _ in range(300):
        groups = np.repeat(np.arange(18), rng.integers(1, 31, 18))
        values = rng.normal(size=18)[groups] + rng.normal(size=len(groups))
        truth = 0.0
        if skewed:
            values, truth = np.exp(values), math.e
        found = interval(values, groups, number=400)
        covered += found.low <= truth <= found.high
    assert covered / 300 >= (0.87 if skewed else 0.91)
    assert covered / 300 <= 0.985


def test_too_few_rooms_have_neither_interval_nor_test() -> None:
    few = np.arange(MIN_ROOMS - 1.0)
    found = paired_difference(few[None], few[None] ** 2, np.arange(len(few)))
    assert found.interval.reason == found.reason == "fewer than 12 rooms: 11"
    assert math.isnan(found.p_value) and math.isnan(found.interval.low)
    pooled = Estimate(0.5, np.linspace(0, 1, MIN_ROOMS_POOLED - 1), ((0.0, 1),), 40, pooled=True)
    assert interval_of(pooled).reason == "fewer than 18 rooms: 17"
    none = interval(np.array([math.nan, math.nan]), ["r", "s"])
    assert (math.isnan(none.value), none.reason) == (True, "undefined on every clip")
    assert math.isnan(interval(np.zeros(0), []).low)


def test_the_jackknife_of_a_mean_is_student_s_t() -> None:
    values = np.random.default_rng(1).normal(size=(1, 20))
    left_out = (values.sum() - values) / 19
    found = estimate_pooled(values.mean(axis=1), left_out, 20)
    assert found.rooms == pytest.approx(values[0])
    got = interval_of(found, number=20_000)
    low, high = stats.t.interval(0.95, 19, values.mean(), stats.sem(values[0]))
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-3)
    assert compare_with_zero(found).reason.startswith("one seed")
    known = compare_with_zero(without_seeds(found))
    assert known.test == "jackknife"
    assert known.p_value == pytest.approx(stats.ttest_1samp(values[0], 0).pvalue, abs=2e-3)
    gap = estimate_pooled(np.array([0.5]), np.append(left_out, math.nan)[None], 21)
    assert interval_of(gap).reason == "undefined without some of the rooms"


# ---- differences


def without_seeds(estimate: Estimate) -> Estimate:
    return Estimate(estimate.value, estimate.rooms, (), estimate.n_clips, estimate.pooled)


@pytest.mark.parametrize("seed", range(4))
def test_the_larger_of_both_p_values_counts(seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=12) + 0.5
    got = compare_with_zero(without_seeds(estimate_mean(values, np.arange(12))))
    flips = [abs(np.dot(signs, values)) for signs in itertools.product((1, -1), repeat=12)]
    exact = np.mean([flip >= abs(values.sum()) - 1e-12 for flip in flips])
    drawn, t = studentised(estimate_mean(values, np.arange(12)), 19_999, 0), values.mean() / stats.sem(values)
    side = min((drawn >= t).sum(), (drawn <= t).sum())
    assert got.p_value == pytest.approx(max(exact, min(1.0, 2 * (side + 0.5) / 20_000)))
    assert got.test == "sign flips and bootstrap-t"
    by_scipy = stats.permutation_test((values,), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert exact == pytest.approx(by_scipy.pvalue)


def test_pairs_need_both_values_of_all_seeds() -> None:
    first, second = np.array([[1.0, math.nan, 3.0], [1.0, 2.0, 3.0]]), np.array([[0.0, 1.0, math.nan]])
    a, b = paired_estimate(first, second, [0, 1, 2])
    assert (a.n_clips, b.n_clips, a.value, b.value) == (1, 1, 1.0, 0.0)
    with pytest.raises(DatasetError):
        paired_estimate(first, np.zeros((1, 4)), [0, 1, 2])
    with pytest.raises(NonFiniteError):
        paired_estimate(first, np.array([[0.0, np.inf, 1.0]]), [0, 1, 2])


def test_clear_and_equal_models() -> None:
    values, groups = rooms(2, 30)
    seeds = np.stack([values, values + 0.001, values - 0.001])
    clear = paired_difference(seeds + 1.0, seeds, groups)
    assert clear.p_value < 1e-3
    assert clear.interval.low < 1.0 < clear.interval.high
    none = paired_difference(seeds, seeds, groups)
    assert none.p_value == 1.0
    swapped = paired_difference(seeds, seeds + 1.0, groups)
    assert swapped.interval.value == pytest.approx(-1.0)
    assert swapped.p_value == pytest.approx(clear.p_value, rel=0.3)


def test_a_single_seed_is_not_tested() -> None:
    values, groups = rooms(2, 30)
    found = paired_difference(np.stack([values, values]), values - 1.0, groups)
    assert (found.reason, found.test) == ("one seed: its spread is not known", "none")
    assert not math.isnan(found.interval.value)


@pytest.mark.parametrize("spread", [0.3, 5.0])
def test_equal_features_with_other_seeds_are_rarely_told_apart(spread: float) -> None:
    """Rooms alone would reject nearly always where seeds move all rooms together."""
    rng, hits, naive = np.random.default_rng(0), 0, 0
    for _ in range(150):
        sides = [rng.normal(size=(3, 20)) * 0.1 + spread * rng.normal(size=(3, 1)) for _ in range(2)]
        a, b = (estimate_mean(side, np.arange(20)) for side in sides)
        hits += compare_with_zero(contrast((1, -1), (a, b))).p_value < 0.05
        naive += compare_with_zero(without_seeds(contrast((1, -1), (a, b)))).p_value < 0.05
    assert hits / 150 <= 0.09
    assert naive / 150 >= 0.5


def test_degrees_of_freedom_are_satterthwaite_s() -> None:
    estimate = Estimate(0.0, np.zeros(20), ((0.4, 2), (0.1, 4), (0.0, 0)))
    spread, dof = estimate.others_error
    assert spread == pytest.approx(math.sqrt(0.5))
    assert dof == pytest.approx(0.25 / (0.16 / 2 + 0.01 / 4))
    assert np.percentile(studentised(estimate, 200_000, 0), 97.5) == pytest.approx(stats.t.ppf(0.975, dof), rel=0.02)


def test_contrasts_are_linear() -> None:
    a, b = Estimate(2.0, np.arange(3.0), ((0.3, 2),), 5), Estimate(1.0, np.ones(3), ((0.1, 2),), 4)
    found = contrast((0.5, -2.0), (a, b))
    assert (found.value, found.rooms.tolist(), found.n_clips) == (-1.0, [-2.0, -1.5, -1.0], 4)
    assert found.others == ((0.075, 2), (0.4, 2))
    assert math.isnan(contrast((1, -1), (a, Estimate(1.0, np.ones(2)))).value)


def test_models_of_a_kind_are_a_sample() -> None:
    """Two kinds are told apart only if they differ by more than the models of each kind do."""
    rng, hits, fixed = np.random.default_rng(0), 0, 0
    for _ in range(100):
        sides = [
            [estimate_mean(rng.normal() + 0.2 * rng.normal(size=30), np.arange(30)) for _ in range(4)] for _ in "ab"
        ]
        hits += compare_with_zero(contrast_of_kinds(*sides)).p_value < 0.05
        averages = [contrast([0.25] * 4, side) for side in sides]
        fixed += compare_with_zero(without_seeds(contrast((1, -1), averages))).p_value < 0.05
    assert hits / 100 <= 0.12
    assert fixed / 100 >= 0.5
    with pytest.raises(ConfigError):
        contrast_of_kinds(sides[0][:1], sides[1])


def test_max_t_lies_between_single_tests_and_holm() -> None:
    rng = np.random.default_rng(0)
    shared = rng.normal(size=(24, 1))
    tables = shared + 0.1 * rng.normal(size=(24, 6)) + np.array([0.9, 0.3, 0.0, 0.0, 0.5, 0.1])
    estimates = [without_seeds(estimate_mean(table, np.arange(24))) for table in tables.T]
    single = np.array([compare_with_zero(estimate).p_value for estimate in estimates])
    adjusted = max_t(estimates)
    by_holm = np.array(list(holm({str(i): p for i, p in enumerate(single)}).values()))
    assert (adjusted >= single - 2e-3).all()
    assert adjusted.min() < by_holm.min()
    assert max_t(estimates[:1])[0] == pytest.approx(single[0], abs=5e-4)


def test_max_t_holds_the_error_of_the_whole_family() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(150):
        table: Floats = rng.normal(size=(18, 8)) + rng.normal(size=(18, 1))
        hits += max_t([without_seeds(estimate_mean(x, np.arange(18))) for x in table.T], number=499).min() < 0.05
    assert hits / 150 <= 0.09


# ---- corrections


def test_holm_by_hand() -> None:
    adjusted = holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005})
    assert adjusted == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02})
    assert list(adjusted) == ["a", "b", "c", "d"]
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}
    with_gap = holm({"a": 0.01, "b": math.nan, "c": 0.02})
    assert with_gap["a"] == pytest.approx(0.02)
    assert math.isnan(with_gap["b"])
    with pytest.raises(ConfigError):
        holm({"a": 1.2})


@pytest.mark.parametrize("seed", range(5))
def test_holm_rejects_what_the_step_down_procedure_rejects(seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = {str(k): float(v) for k, v in enumerate(rng.random(8) ** 4)}
    for level in (0.01, 0.05, 0.2):
        rejected = set()
        for rank, (name, value) in enumerate(sorted(p.items(), key=lambda item: item[1])):
            if value > level / (8 - rank):
                break
            rejected.add(name)
        assert {name for name, value in holm(p).items() if value <= level} == rejected


def test_bad_parameters_are_refused() -> None:
    values = np.arange(20.0)
    with pytest.raises(ConfigError):
        interval(values, values, confidence=95)
    with pytest.raises(ConfigError):
        interval(values, values, number=0)
    with pytest.raises(DatasetError):
        interval(values, values[:3])
