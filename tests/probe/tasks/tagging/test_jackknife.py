"""Average precision across rooms and without each room, against scikit-learn's definition and brute force."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from probe.metrics.arrays import FloatArray
from probe.metrics.score import Variant
from probe.metrics.scores import PooledScores
from probe.tasks.tagging.chance import random_rankings
from probe.tasks.tagging.evaluation import TaggingEvaluator
from probe.tasks.tagging.jackknife import tagging_pooled, values_on_clips
from probe.tasks.tagging.metrics import average_precision, tagging_score

NAMES = ["wall", "bed", "sink", "lamp"]
BUCKETS = ["head", "mid", "mid", "tail"]


def split(seed: int, n_rooms: int = 10, ties: bool = False) -> tuple[NDArray[np.bool_], FloatArray, list[str]]:
    rng = np.random.default_rng(seed)
    rooms = np.repeat(np.arange(n_rooms), rng.integers(1, 5, n_rooms))
    labels = rng.normal(size=(n_rooms, 4))[rooms] + 0.5 * rng.normal(size=(len(rooms), 4)) > 0.2
    logits = labels + rng.normal(size=labels.shape)
    return labels, np.round(logits) if ties else logits, [f"room{room}" for room in rooms]


def pooled(labels: NDArray[np.bool_], logits: FloatArray, rooms: list[str], variant: Variant) -> PooledScores:
    found = tagging_pooled(labels, logits.astype(np.float64), NAMES, BUCKETS, rooms, variant)
    return replace(found, values=values_on_clips(labels, logits.astype(np.float64), BUCKETS, variant))


def across(positive: NDArray[np.bool_], score: FloatArray, rooms: list[str]) -> float:
    """Average precision of each positive among clips of other rooms, one by one."""
    found = []
    for i in np.flatnonzero(positive):
        other = [j for j in range(len(score)) if rooms[j] != rooms[i] and score[j] >= score[i]]
        found.append((1 + sum(positive[j] for j in other)) / (1 + len(other)))
    return float(np.mean(found)) if found else math.nan


@pytest.mark.parametrize("ties", [False, True])
def test_each_positive_is_ranked_among_other_rooms(ties: bool) -> None:
    labels, logits, rooms = split(0, ties=ties)
    found = pooled(labels, logits, rooms, "standard")
    names = sorted(set(rooms))
    for c, one in enumerate(found.classes):
        assert one.estimate == pytest.approx(across(labels[:, c], logits[:, c], rooms))
        for g, left in enumerate(names):
            kept = [i for i, room in enumerate(rooms) if room != left]
            expected = across(labels[kept, c], logits[kept, c], [rooms[i] for i in kept])
            assert one.without[g] == pytest.approx(expected, nan_ok=True)
    assert found.metrics["map"].estimate == pytest.approx(np.mean([one.estimate for one in found.classes]))
    assert found.metrics["ap_mid"].estimate == pytest.approx(np.mean([one.estimate for one in found.classes[1:3]]))
    ratio = found.metrics["mid_ratio"]
    assert ratio.without == pytest.approx(found.metrics["ap_mid"].without / found.metrics["map"].without)


@pytest.mark.parametrize("variant", ["standard", "paper"])
@pytest.mark.parametrize("ties", [False, True])
def test_with_one_clip_a_room_it_is_the_metric_itself(variant: Variant, ties: bool) -> None:
    rng = np.random.default_rng(1)
    labels, logits = rng.random((40, 4)) < 0.4, rng.normal(size=(40, 4))
    logits = np.round(logits) if ties else logits
    found = pooled(labels, logits, [f"{i:02d}" for i in range(40)], variant)
    expected = average_precision(labels, logits, variant=variant)
    assert [one.estimate for one in found.classes] == pytest.approx(expected.tolist())
    assert found.metrics["map"].estimate == pytest.approx(found.values["map"])
    kept = np.arange(1, 40)
    again = average_precision(labels[kept], logits[kept], variant=variant)
    assert [one.without[0] for one in found.classes] == pytest.approx(again.tolist())


@pytest.mark.parametrize("variant", ["standard", "paper"])
def test_f1_without_each_room(variant: Variant) -> None:
    labels, logits, rooms = split(3, n_rooms=12)
    found, rates = pooled(labels, logits, rooms, variant), np.linspace(0.1, 0.9, 4)
    assert not found.notes
    for g, left in enumerate(sorted(set(rooms))):
        kept = [i for i, room in enumerate(rooms) if room != left]
        expected = tagging_score(labels[kept], logits[kept], rates, variant=variant).values
        for key in ("of1", "cf1"):
            assert found.metrics[key].without[g] == pytest.approx(expected[key])
    whole = tagging_score(labels, logits, rates, variant=variant).values
    assert {key: found.values[key] for key in ("map", "of1", "cf1")} == pytest.approx(
        {key: whole[key] for key in ("map", "of1", "cf1")}
    )


def test_classes_in_few_rooms_are_left_out_and_named() -> None:
    labels, logits, rooms = split(4, n_rooms=20)
    labels[:, 1] = False
    labels[0, 1] = True
    labels[:, 2] = True
    found = pooled(labels, logits, rooms, "standard")
    assert found.notes["map"] == "classes in too few rooms are left out of the estimate: bed, sink"
    assert found.metrics["map"].estimate == pytest.approx((found.classes[0].estimate + found.classes[3].estimate) / 2)
    assert math.isnan(found.metrics["ap_mid"].estimate)
    few = [i for i, room in enumerate(rooms) if room < "room15"]  # no interval, and all that is known
    assert not pooled(labels[few], logits[few], [rooms[i] for i in few], "standard").notes
    none = pooled(labels & False, logits, rooms, "standard")
    assert math.isnan(none.metrics["map"].estimate)


def test_results_hold_value_estimate_and_band() -> None:
    rng = np.random.default_rng(1)
    labels, logits, rates = rng.random((60, 4)) < 0.4, rng.normal(size=(60, 4)), np.linspace(0.1, 0.9, 4)
    evaluator = TaggingEvaluator(NAMES, tuple(rates), "standard")
    for i in range(60):
        evaluator.add(f"clip{i}", (0, 1), {"logits": logits[i]}, {"labels": labels[i]})
    found = evaluator.finish().summary({f"clip{i}": f"room{i % 20:02d}" for i in range(60)}, 400, seed=3)
    whole = tagging_score(labels, logits, rates).values
    for key, value in whole.items():
        assert found[key]["value"] == pytest.approx(value)
        assert found[key]["low"] < found[key]["estimate"] < found[key]["high"]
    chance = found["random_map"]
    assert chance["low"] < chance["value"] < chance["high"]
    assert chance["low"] < whole["map"] < chance["high"]  # these logits know nothing


def test_chance_is_what_random_logits_reach() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((14, 3)) < np.array([0.2, 0.5, 0.8])
    drawn = [float(np.nanmean(average_precision(labels, rng.normal(size=labels.shape)))) for _ in range(4000)]
    found = random_rankings(labels, number=4000)
    assert found.mean == pytest.approx(np.mean(drawn), abs=0.01)
    assert (found.low, found.high) == pytest.approx(tuple(np.percentile(drawn, (2.5, 97.5))), abs=0.02)
    assert found.mean > labels.mean()  # equal scores reach only the share of positives
    assert math.isnan(random_rankings(labels & False).mean)
