"""Paired tests of two sources: on clips over rooms, and on pooled metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probe.metrics.comparison import compare_with_zero, paired_difference
from probe.metrics.statistics import contrast, estimate_pooled
from probe.report.build import build
from probe.tasks.tagging.jackknife import tagging_pooled
from tests.probe.report.rows import ORACLE, VGM, VLM, pairs, seeds, values


def test_a_pair_is_tested_on_the_same_clips_over_rooms_and_seeds(make_study: Any) -> None:
    study = make_study(32, 16)
    seeds(study, "instance", VLM, {"t_miou": values(1, 32)})
    seeds(study, "instance", VGM, {"t_miou": values(2, 32, 0.05)}, tap="dit")
    row = pairs(build(str(study.root)), "models").iloc[0]
    a, b = (values(2, 32, 0.05), values(1, 32)) if row.a_source == VGM else (values(1, 32), values(2, 32, 0.05))
    stacks = [np.stack([side + 0.002 * (i - 1) for i in range(3)]) for side in (a, b)]
    expected = paired_difference(stacks[0], stacks[1], list(study.rooms.values()), number=1000, seed=0)
    assert row.difference == pytest.approx(expected.interval.value)
    assert (row.low, row.high) == (pytest.approx(expected.interval.low), pytest.approx(expected.interval.high))
    assert row.p == pytest.approx(expected.p_value) == pytest.approx(row.p_corrected)
    rooms = (a - b).reshape(2, 16).mean(axis=0)
    assert row.effect == pytest.approx(rooms.mean() / rooms.std(ddof=1))
    assert row.rooms_better == pytest.approx((rooms > 0).mean())
    assert row.p_smallest == 1 / 20_000
    assert row.test == "sign flips and bootstrap-t with seeds"
    assert row.verdict == "exploratory"


def test_pooled_metrics_are_tested_by_the_jackknife(make_study: Any) -> None:
    study = make_study(40, 20)
    labels = np.random.default_rng(0).random((40, 3)) < 0.4
    rooms = list(study.rooms.values())
    sides = {}
    for i, (source, gain) in enumerate(((ORACLE, 2.0), (VLM, 0.0))):
        sides[source] = [gain * labels + np.random.default_rng([i, seed]).normal(size=(40, 3)) for seed in range(3)]
        for seed, scores in enumerate(sides[source]):
            study.tagging(source, scores, labels, seed=seed, tap="oracle" if i == 0 else "llm")
    row = pairs(build(str(study.root)), "ceiling").iloc[0]
    estimates = []
    for source in (ORACLE, VLM):
        some = [tagging_pooled(labels, x, "abc", ["head", "mid", "tail"], rooms, "standard") for x in sides[source]]
        maps = [one.metrics["map"] for one in some]
        estimates.append(estimate_pooled(np.array([m.estimate for m in maps]), np.stack([m.without for m in maps]), 40))
    expected = compare_with_zero(contrast((1, -1), estimates), number=1000)
    assert row.a_source == ORACLE
    assert (row.difference, row.low, row.high) == pytest.approx(
        (expected.interval.value, expected.interval.low, expected.interval.high)
    )
    assert row.p == pytest.approx(expected.p_value)
    assert row.test == "jackknife with seeds"
    assert np.isnan(row.rooms_better)


def test_a_row_with_one_seed_is_not_tested(make_study: Any) -> None:
    study = make_study(16, 16)
    study.per_clip("instance", VLM, {"t_miou": values(1, 16)})
    seeds(study, "instance", VGM, {"t_miou": values(2, 16)}, tap="dit")
    data = build(str(study.root))
    row = pairs(data, "models").iloc[0]
    assert (row.verdict, row.test) == ("no test", "none")
    assert row.low < row.difference < row.high
    assert any("nothing could be tested (one seed" in s.text for s in data.said("limit"))


def test_hard_clips_that_a_model_leaves_out_do_not_raise_its_rank(make_study: Any) -> None:
    """NaN on the hardest clips: its own mean is higher, its rank on common clips is not, and the words say so."""
    study = make_study(32, 16)
    column = values(1, 32)
    hard = column < np.median(column)
    seeds(study, "instance", VLM, {"t_miou": column + 0.01})
    seeds(study, "instance", VGM, {"t_miou": np.where(hard, np.nan, column)}, tap="dit")
    data = build(str(study.root))
    scores = data.table("scores").set_index("source").query("metric == 't_miou'")
    assert scores.value[VGM] > scores.value[VLM]
    assert scores.n_undefined[VGM] == 16
    (order,) = [s.text for s in data.said("finding") if "ordered by" in s.text]
    assert "on the 16 clips of 32 on which all have a value" in order
    assert order.index("Qwen3-VL") < order.index("Wan2.1")


def test_lower_is_better_turns_the_advantage(make_study: Any) -> None:
    study = make_study(16, 16)
    seeds(study, "geometry", "qwen3-vl-2b", {"abs_rel": values(1, 16)})
    seeds(study, "geometry", "qwen3-vl-2b-random", {"abs_rel": values(1, 16, 0.3) + values(3, 16) * 0.1})
    row = pairs(build(str(study.root)), "twins").iloc[0]
    assert row.difference < 0 < row.advantage
    assert row.effect > 0
    assert row.verdict == "a better"


def test_equal_fingerprints_are_the_same_features_not_a_tie(study: Any) -> None:
    for source in (VGM, "wan-t2v-14b-tiny-random"):
        study.per_clip("instance", source, {"t_miou": values(1, 6)}, tap="dit", store={"adapter": {"family": "wan"}})
    data = build(str(study.root))
    assert pairs(data, "models").verdict.tolist() == ["same features"]
    assert data.table("sources").same_features_as.dropna().tolist() in (["wan-t2v-14b-tiny-random"], [VGM])
    assert any("same features" in s.text for s in data.said("warning"))
