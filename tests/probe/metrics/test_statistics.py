"""Intervals and tests against scipy, exact enumeration, hand-worked cases and coverage on simulated data."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from configs.errors import ConfigError, DatasetError
from probe.metrics.arrays import FloatArray, IntArray
from probe.metrics.comparison import holm, paired_difference, paired_resamples
from probe.metrics.score import Variant
from probe.metrics.statistics import Resamples, bootstrap_mean
from probe.tasks.tagging.evaluation import TaggingEvaluator
from probe.tasks.tagging.metrics import average_precision, tagging_score
from tests.probe.oracles import resampled


def rooms(seed: int, n_rooms: int = 20, per_room: int = 3, spread: float = 1.0) -> tuple[FloatArray, IntArray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(n_rooms), per_room)
    return spread * rng.normal(size=n_rooms)[groups] + 0.1 * rng.normal(size=len(groups)), groups


def test_mean_equals_scipy_bootstrap_over_rooms() -> None:
    values, groups = rooms(0, 40)
    means = values.reshape(40, 3).mean(axis=1)
    expected = stats.bootstrap((means,), np.mean, n_resamples=20000, method="percentile", rng=np.random.default_rng(1))
    got = bootstrap_mean(values, groups, n_resamples=20000)
    assert got.value == pytest.approx(values.mean())
    assert got.low == pytest.approx(expected.confidence_interval.low, abs=0.02)
    assert got.high == pytest.approx(expected.confidence_interval.high, abs=0.02)
    assert (got.n_clips, got.n_groups, got.n_resamples, got.reason) == (120, 40, 20000, "")


def test_rooms_of_different_size_are_resampled_whole() -> None:
    """Against a loop that draws rooms and pools their clips."""
    rng = np.random.default_rng(3)
    groups = np.array(["a", "b", "b", "c", "c", "c", "d"])
    values = rng.normal(size=7)
    draws = np.random.default_rng(5).integers(0, 4, (300, 4))
    samples = [np.mean([v for room in draw for v in values[groups == "abcd"[room]]]) for draw in draws]
    got = bootstrap_mean(values, groups, n_resamples=300, seed=5)
    assert (got.low, got.high) == pytest.approx(tuple(np.percentile(samples, (2.5, 97.5))))
    assert resampled(lambda index: float(values[index].mean()), groups, 300, seed=5) == pytest.approx(samples)


def test_clustering_widens_the_interval_and_order_does_not_matter() -> None:
    values, groups = rooms(1)
    by_room, by_clip = bootstrap_mean(values, groups), bootstrap_mean(values, np.arange(60))
    assert by_room.high - by_room.low > 1.4 * (by_clip.high - by_clip.low)
    order = np.random.default_rng(0).permutation(60)
    again = bootstrap_mean(values[order], groups[order])
    assert (again.low, again.high) == pytest.approx((by_room.low, by_room.high))
    assert bootstrap_mean(values, groups, seed=1).low != by_room.low


def test_coverage_is_about_nominal() -> None:
    covered = 0
    for seed in range(200):
        values, groups = rooms(seed, 30, 2)
        interval = bootstrap_mean(values, groups, n_resamples=300, seed=seed)
        covered += interval.low <= 0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99


def test_undefined_values_and_too_few_rooms_have_no_interval() -> None:
    one = bootstrap_mean(np.array([0.2, 0.4]), ["r", "r"])
    assert one.value == pytest.approx(0.3)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert one.reason == "fewer than two rooms"
    none = bootstrap_mean(np.array([math.nan, math.nan]), ["r", "s"])
    assert math.isnan(none.value)
    assert none.reason == "undefined on every clip"
    some = bootstrap_mean(np.array([1.0, math.nan, 3.0]), ["r", "s", "t"])
    assert (some.value, some.n_clips, some.n_groups) == (2.0, 2, 2)
    draws = Resamples.draw(["r", "s"], 5, 0.95, 0)
    assert draws.interval(math.nan, np.full(5, math.nan), 2).reason == "undefined on all clips"
    assert draws.interval(0.5, np.full(5, math.nan), 2).reason == "undefined on every resample"
    assert math.isnan(bootstrap_mean(np.zeros(0), []).low)


def test_statistic_that_is_no_mean() -> None:
    rng = np.random.default_rng(0)
    labels, logits = rng.random((60, 4)) < 0.3, rng.normal(size=(60, 4))
    better = logits + 2.0 * labels
    groups = np.repeat(np.arange(20), 3)

    def mean_ap(scores: FloatArray) -> Callable[[IntArray], float]:
        return lambda index: float(np.nanmean(average_precision(labels[index], scores[index])))

    draws, everyone = Resamples.draw(groups, 100, 0.95, 0), np.arange(60)
    values = [mean_ap(s)(everyone) for s in (logits, better)]
    samples = [resampled(mean_ap(s), groups, 100) for s in (logits, better)]
    plain, good = (draws.interval(v, s, 60) for v, s in zip(values, samples, strict=True))
    assert plain.low < plain.value < plain.high < good.low
    difference = paired_resamples(good.value - plain.value, samples[1] - samples[0], draws)
    assert difference.interval.low > 0
    assert difference.p_value == difference.smallest == pytest.approx(2 / 101)
    assert paired_resamples(0.0, samples[0] - samples[0], draws).p_value == 1.0
    one_room = Resamples.draw([0] * 60, 5, 0.95, 0)
    assert math.isnan(paired_resamples(0.5, np.full(5, 0.5), one_room).p_value)


def test_few_rooms_bound_the_p_value_of_resamples() -> None:
    draws = Resamples.draw(["a", "b", "c", "c"], 1000, 0.95, 0)
    clear = paired_resamples(0.5, np.linspace(0.4, 0.6, 1000), draws)
    assert clear.p_value == clear.smallest == 2 / 2**3


@pytest.mark.parametrize("variant", ["standard", "paper"])
def test_scores_of_a_split_are_resampled_as_one_by_one(variant: Variant) -> None:
    """The intervals of results against a loop over resamples, each scored on repeated clips."""
    rng = np.random.default_rng(1)
    labels, logits, rates = rng.random((24, 5)) < 0.4, rng.normal(size=(24, 5)), np.linspace(0.1, 0.9, 5)
    rooms = [f"room{i % 7}" for i in range(24)]
    evaluator = TaggingEvaluator([f"class{i}" for i in range(5)], tuple(rates), variant)
    for i in range(24):
        evaluator.add(f"clip{i}", (0, 1), {"logits": logits[i]}, {"labels": labels[i]})
    found = evaluator.finish().summary({f"clip{i}": room for i, room in enumerate(rooms)}, 60, seed=3)
    whole = tagging_score(labels, logits, rates, variant=variant).values
    for key, value in whole.items():

        def of(i: IntArray, key: str = key) -> float:
            return tagging_score(labels[i], logits[i], rates, variant=variant).values[key]

        samples = resampled(of, rooms, 60, 3)
        expected = np.percentile(samples[~np.isnan(samples)], (2.5, 97.5))
        assert found[key]["value"] == value
        assert (found[key]["low"], found[key]["high"]) == pytest.approx(tuple(expected), abs=1e-9)
    shares = labels.mean(axis=0)
    assert found["chance_map"]["value"] == pytest.approx(shares[shares > 0].mean())


def test_rooms_without_a_value_are_not_drawn() -> None:
    values = np.array([1.0, 2.0, math.nan, 4.0, math.nan, 6.0])
    rooms = ["d", "a", "b", "c", "b", "c"]
    found = Resamples.draw(rooms, 50, 0.9, 4).interval_of_mean(values)
    known = ~np.isnan(values)
    samples = resampled(lambda index: float(values[known][index].mean()), [r for r in rooms if r != "b"], 50, 4)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(samples, (5, 95))))
    assert (found.n_clips, found.n_groups, found.n_resamples) == (4, 3, 50)


@pytest.mark.parametrize("seed", range(4))
def test_paired_difference_enumerates_sign_flips(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5])
    first, second = rng.normal(size=9) + 0.4, rng.normal(size=9)
    got = paired_difference(first, second, groups)
    totals = [float((first - second)[groups == g].sum()) for g in range(6)]
    flips = [
        abs(sum(s * t for s, t in zip(signs, totals, strict=True))) for signs in itertools.product((1, -1), repeat=6)
    ]
    assert got.p_value == pytest.approx(sum(f >= abs(sum(totals)) - 1e-12 for f in flips) / 64)
    assert got.test == "sign flips, exact"
    assert got.interval.value == pytest.approx((first - second).mean())
    by_scipy = stats.permutation_test((np.array(totals),), np.sum, permutation_type="samples", n_resamples=np.inf)
    assert got.p_value == pytest.approx(by_scipy.pvalue)


def test_paired_difference_with_many_rooms() -> None:
    values, groups = rooms(2, 30)
    clear = paired_difference(values + 1.0, values, groups)
    assert clear.p_value == pytest.approx(1 / 20000)
    assert clear.interval.low == pytest.approx(1.0)
    none = paired_difference(values, values, groups)
    assert none.p_value == 1.0
    swapped = paired_difference(values, values + 1.0, groups)
    assert swapped.interval.value == pytest.approx(-1.0)
    assert swapped.p_value == clear.p_value


def test_pairs_need_both_values() -> None:
    got = paired_difference(np.array([1.0, math.nan, 3.0]), np.array([0.0, 1.0, math.nan]), [0, 1, 2])
    assert got.interval.n_clips == 1
    assert math.isnan(got.p_value)


def test_false_positive_rate_of_the_paired_test() -> None:
    hits = 0
    for seed in range(200):
        first, groups = rooms(seed, 15, 2)
        second, _ = rooms(seed + 1000, 15, 2)
        hits += paired_difference(first, second, groups, n_resamples=200, n_flips=200, seed=seed).p_value <= 0.05
    assert hits / 200 <= 0.1


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
    with pytest.raises(ConfigError):
        bootstrap_mean(np.ones(3), [0, 1, 2], confidence=95)
    with pytest.raises(ConfigError):
        bootstrap_mean(np.ones(3), [0, 1, 2], n_resamples=0)
    with pytest.raises(DatasetError):
        bootstrap_mean(np.ones(3), [0, 1])
