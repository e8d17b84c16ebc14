"""Paired tests of two sources: on clips over rooms, and on pooled metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from probe.metrics.comparison import paired_difference
from probe.report.build import build
from probe.tasks.tagging.metrics import tagging_score
from tests.probe.oracles import resampled
from tests.probe.report.rows import ORACLE, RATES, VGM, VLM, pairs, values


def test_a_pair_is_tested_on_the_same_clips_over_rooms(make_study: Any) -> None:
    study = make_study(16, 8)
    study.per_clip("instance", VLM, {"t_miou": values(1, 16)})
    study.per_clip("instance", VGM, {"t_miou": values(2, 16, 0.05)}, tap="dit")
    row = pairs(build(str(study.root)), "models").iloc[0]
    a, b = (values(2, 16, 0.05), values(1, 16)) if row.a_source == VGM else (values(1, 16), values(2, 16, 0.05))
    expected = paired_difference(a, b, list(study.rooms.values()), n_resamples=1000, seed=0)
    assert row.difference == pytest.approx(expected.interval.value)
    assert (row.low, row.high) == (pytest.approx(expected.interval.low), pytest.approx(expected.interval.high))
    assert row.p == pytest.approx(expected.p_value) == pytest.approx(row.p_holm)
    rooms = (a - b).reshape(2, 8).mean(axis=0)
    assert row.effect == pytest.approx(rooms.mean() / rooms.std(ddof=1))
    assert row.rooms_better == pytest.approx((rooms > 0).mean())
    assert row.p_smallest == 2 / 2**8


def test_pooled_metrics_use_the_resamples_but_claim_no_more_than_the_rooms_allow(make_study: Any) -> None:
    study = make_study(20, 4)
    labels = np.random.default_rng(0).random((20, 3)) < 0.4
    good, bad = (
        labels * 4.0 + np.random.default_rng(1).normal(size=(20, 3)),
        np.random.default_rng(2).normal(size=(20, 3)),
    )
    study.tagging(ORACLE, good, labels, tap="oracle")
    study.tagging(VLM, bad, labels)
    row = pairs(build(str(study.root), resamples=200), "ceiling").iloc[0]

    def of(scores: np.ndarray) -> Any:
        return lambda i: tagging_score(labels[i], scores[i], RATES).values["map"]

    everyone, rooms = np.arange(20), list(study.rooms.values())
    samples = resampled(lambda i: of(good)(i) - of(bad)(i), rooms, 200)
    assert row.a_source == ORACLE
    assert row.difference == pytest.approx(of(good)(everyone) - of(bad)(everyone))
    assert (row.low, row.high) == pytest.approx(tuple(np.percentile(samples, (2.5, 97.5))))
    assert 2 * (np.sum(samples <= 0) + 1) / 201 < 2 / 2**4
    assert row.p == 2 / 2**4
    assert np.isnan(row.rooms_better)


def test_lower_is_better_turns_the_advantage(make_study: Any) -> None:
    study = make_study(16, 8)
    study.per_clip("geometry", ORACLE, {"abs_rel": values(1, 16)}, tap="oracle")
    study.per_clip("geometry", VLM, {"abs_rel": values(1, 16, 0.3) + values(3, 16) * 0.1})
    row = pairs(build(str(study.root)), "ceiling").iloc[0]
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
