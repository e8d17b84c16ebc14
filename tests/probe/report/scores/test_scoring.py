"""Scores of a report: seeds averaged clip by clip, intervals over rooms, and the results files as witnesses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from probe.metrics.statistics import Resamples, bootstrap_mean
from probe.report.build import build
from probe.tasks.tagging.metrics import tagging_score
from probe.tasks.tagging.resampled import tagging_samples
from tests.probe.report.rows import LABELS, RATES, logits, score


def test_seeds_are_averaged_clip_by_clip_before_resampling(study: Any) -> None:
    nan = float("nan")
    study.per_clip("instance", "pixels", {"t_miou": [0.0, 0.2, 0.4, 0.6, 0.8, nan]}, seed=1)
    study.per_clip("instance", "pixels", {"t_miou": [0.2, 0.2, 0.6, 0.6, 1.0, nan]}, seed=2)
    row = score(build(str(study.root)), "pixels", "t_miou")
    mean = np.array([0.1, 0.2, 0.5, 0.6, 0.9, nan])
    assert row.value == pytest.approx(2.3 / 5)
    assert (row.n_clips, row.n_undefined, row.n_rooms, row.n_seeds) == (5, 1, 3, 2)
    assert (row.seed_low, row.seed_high) == (pytest.approx(0.4), pytest.approx(0.52))
    expected = bootstrap_mean(mean, list(study.rooms.values()), n_resamples=1000, seed=0)
    assert (row.low, row.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_a_room_without_values_is_not_drawn(study: Any) -> None:
    nan = float("nan")
    study.per_clip("instance", "pixels", {"t_miou": [0.0, 0.2, nan, 0.6, 0.8, nan]})  # nothing in room2
    row = score(build(str(study.root)), "pixels", "t_miou")
    assert row.n_rooms == 2
    again = score(build(str(study.root), resamples=study.resamples), "pixels", "t_miou")
    told = json.loads(next((study.root / "results").glob("*.json")).read_text(encoding="utf-8"))["report"]["t_miou"]
    assert (again.value, again.low, again.high) == pytest.approx((told["value"], told["low"], told["high"]))


def test_one_seed_says_what_its_results_file_says(make_study: Any) -> None:
    study = make_study(24, 8)
    labels = np.tile(LABELS, (4, 1))
    study.tagging("pixels", np.round(logits(0, 24), 1), labels)  # rounded: scores tie
    study.per_clip("geometry", "pixels", {"abs_rel": np.linspace(0.1, 0.9, 24), "auc_30": np.linspace(0, 1, 24)})
    data = build(str(study.root), resamples=study.resamples)
    compared = 0
    for path in (study.root / "results").glob("*.json"):
        for metric, told in json.loads(path.read_text(encoding="utf-8"))["report"].items():
            row = score(data, "pixels", metric)
            for key in ("value", "low", "high"):
                assert row[key] == pytest.approx(told[key], abs=1e-9), (metric, key)
                compared += 1
    assert compared >= 3 * 9


@pytest.mark.parametrize("variant", ["standard", "paper"])
def test_resampled_tagging_equals_the_metric_on_repeated_clips(variant: Any) -> None:
    rng = np.random.default_rng(1)
    labels = rng.random((30, 3)) < (0.5, 0.2, 0.05)
    values = rng.normal(size=(30, 3))
    if variant == "standard":
        values = np.round(values, 1)  # ties between clips; in `paper` their order depends on the draw
    draws = Resamples.draw([f"r{i % 7}" for i in range(30)], 40, 0.95, 0)
    found, ap = tagging_samples(labels, values, ("head", "mid", "tail"), draws.of_clips(), variant)
    for r, counts in enumerate(draws.of_clips().astype(int)):
        index = np.repeat(np.arange(30), counts)
        whole = tagging_score(labels[index], values[index], RATES, variant=variant)
        np.testing.assert_allclose(ap[r], whole.ap, atol=1e-12)
        for key, value in whole.values.items():
            np.testing.assert_allclose(found[key][r], value, atol=1e-12, err_msg=key)


def test_pooled_metrics_average_over_seeds_in_every_resample(make_study: Any) -> None:
    study = make_study(12, 4)
    labels = np.tile(LABELS, (2, 1))
    for seed in (1, 2):
        study.tagging("pixels", logits(seed, 12), labels, seed=seed)
    row = score(build(str(study.root)), "pixels", "map")
    alone = [tagging_score(labels, logits(seed, 12), RATES).values["map"] for seed in (1, 2)]
    assert row.value == pytest.approx(np.mean(alone))
    assert row.low < row.value < row.high
    assert (row.seed_low, row.seed_high) == (pytest.approx(min(alone)), pytest.approx(max(alone)))


def test_classes_have_intervals_and_chance(study: Any) -> None:
    study.tagging("pixels", logits(0), LABELS)
    table = build(str(study.root)).table("classes")
    assert table["class"].tolist() == ["wall", "bed", "sink"]
    assert table["chance"].tolist() == pytest.approx([4 / 6, 3 / 6, 2 / 6])
    whole = tagging_score(LABELS, logits(0), RATES)
    np.testing.assert_allclose(table["value"].to_numpy(), whole.ap)
    assert (table["low"] <= table["value"]).all()


def test_one_room_has_no_interval_and_says_why(make_study: Any) -> None:
    study = make_study(4, 1)
    study.per_clip("instance", "pixels", {"t_miou": [0.1, 0.2, 0.3, 0.4]})
    row = score(build(str(study.root)), "pixels", "t_miou")
    assert row.value == pytest.approx(0.25)
    assert np.isnan(row.low) and row.reason == "fewer than two rooms"


def test_without_tables_the_results_file_speaks_and_the_gap_is_named(study: Any) -> None:
    name = study.per_clip("instance", "pixels", {"t_miou": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]})
    (study.root / "runs" / name / "clips.parquet").unlink()
    data = build(str(study.root))
    row = score(data, "pixels", "t_miou")
    assert row.value == pytest.approx(0.35) and row.low > 0
    assert "missing" in row.reason
    assert any(name in statement.text for statement in data.said("gap"))
