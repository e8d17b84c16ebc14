"""Scores of a report: estimates over rooms and seeds, and the results files as witnesses."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from probe.metrics.statistics import estimate_mean, interval_of
from probe.report.build import build
from probe.tasks.tagging.jackknife import tagging_pooled
from probe.tasks.tagging.metrics import tagging_score
from tests.probe.report.rows import RATES, VLM, logits, score


def test_seeds_and_rooms_make_the_interval(make_study: Any) -> None:
    study = make_study(30, 15)
    columns = np.random.default_rng(0).uniform(0.2, 0.4, (3, 30))
    columns[1, 4] = np.nan
    for seed, column in enumerate(columns):
        study.per_clip("instance", "pixels", {"t_miou": column}, seed=seed)
    row = score(build(str(study.root)), "pixels", "t_miou")
    expected = estimate_mean(columns, list(study.rooms.values()))
    found = interval_of(expected, number=1000, seed=0)
    assert (row.value, row.low, row.high) == pytest.approx((expected.value, found.low, found.high))
    assert (row.n_clips, row.n_undefined, row.n_rooms, row.n_seeds) == (29, 1, 15, 3)
    each = np.nanmean(columns, axis=1)
    assert (row.on_clips, row.seed_low, row.seed_high) == pytest.approx((each.mean(), each.min(), each.max()))


def test_a_room_without_values_does_not_count(make_study: Any) -> None:
    study = make_study(26, 13)
    column = np.random.default_rng(0).uniform(0.2, 0.4, 26)
    column[[3, 16]] = np.nan  # nothing in room3
    study.per_clip("instance", "pixels", {"t_miou": column})
    row = score(build(str(study.root)), "pixels", "t_miou")
    assert row.n_rooms == 12
    again = score(build(str(study.root), resamples=study.resamples), "pixels", "t_miou")
    told = json.loads(next((study.root / "results").glob("*.json")).read_text(encoding="utf-8"))["report"]["t_miou"]
    assert (again.on_clips, again.value) == pytest.approx((told["value"], told["estimate"]))
    assert (again.low, again.high) == pytest.approx((told["low"], told["high"]))


def test_one_seed_says_what_its_results_file_says(make_study: Any) -> None:
    study = make_study(40, 20)
    labels = np.random.default_rng(5).random((40, 3)) < 0.5
    study.tagging("pixels", np.round(logits(0, 40), 1), labels)  # rounded: scores tie
    study.per_clip("geometry", "pixels", {"abs_rel": np.linspace(0.1, 0.9, 40), "auc_30": np.linspace(0, 1, 40)})
    data = build(str(study.root), resamples=study.resamples)
    compared = 0
    for path in (study.root / "results").glob("*.json"):
        for metric, told in json.loads(path.read_text(encoding="utf-8"))["report"].items():
            row = score(data, "pixels", metric)
            for key, of in (("on_clips", "value"), ("value", "estimate"), ("low", "low"), ("high", "high")):
                expected = np.nan if told[of] is None else told[of]
                assert row[key] == pytest.approx(expected, abs=1e-9, nan_ok=True), (metric, key)
                compared += 1
    assert compared >= 4 * 9


def test_pooled_metrics_average_over_seeds(make_study: Any) -> None:
    study = make_study(40, 20)
    labels = np.random.default_rng(5).random((40, 3)) < 0.5
    for seed in (1, 2):
        study.tagging("pixels", logits(seed, 40), labels, seed=seed)
    row = score(build(str(study.root)), "pixels", "map")
    alone = [tagging_score(labels, logits(seed, 40), RATES).values["map"] for seed in (1, 2)]
    assert row.on_clips == pytest.approx(np.mean(alone))
    assert row.low < row.value < row.high
    assert (row.seed_low, row.seed_high) == (pytest.approx(min(alone)), pytest.approx(max(alone)))


def test_map_says_whether_it_leaves_the_band_of_random_rankings(make_study: Any) -> None:
    study = make_study(40, 20)
    labels = np.random.default_rng(5).random((40, 3)) < 0.5
    study.tagging("pixels", logits(1, 40), labels)
    study.tagging(VLM, labels + 0.5 * logits(2, 40), labels)
    data = build(str(study.root))
    rows = [score(data, source, "map") for source in ("pixels", VLM)]
    assert [row.beyond_chance for row in rows] == ["within", "above"]
    assert rows[0].chance_low < rows[0].on_clips < rows[0].chance_high < rows[1].on_clips
    assert score(data, VLM, "of1").isna().beyond_chance


def test_classes_have_intervals_and_chance(make_study: Any) -> None:
    study = make_study(40, 20)
    labels = np.random.default_rng(5).random((40, 3)) < 0.5
    study.tagging("pixels", logits(0, 40), labels)
    table = build(str(study.root)).table("classes")
    assert table["class"].tolist() == ["wall", "bed", "sink"]
    assert table["chance"].tolist() == pytest.approx(labels.mean(axis=0).tolist())
    found = tagging_pooled(
        labels, logits(0, 40), "abc", ["head", "mid", "tail"], list(study.rooms.values()), "standard"
    )
    np.testing.assert_allclose(table["value"].to_numpy(), [one.estimate for one in found.classes])
    np.testing.assert_allclose(table["on_clips"].to_numpy(), tagging_score(labels, logits(0, 40), RATES).ap)
    assert (table["low"] <= table["value"]).all()


def test_few_rooms_have_no_interval_and_say_why(make_study: Any) -> None:
    study = make_study(4, 2)
    study.per_clip("instance", "pixels", {"t_miou": [0.1, 0.2, 0.3, 0.4]})
    row = score(build(str(study.root)), "pixels", "t_miou")
    assert row.value == pytest.approx(0.25)
    assert np.isnan(row.low) and row.reason == "fewer than 12 rooms: 2"


def test_without_tables_the_results_file_speaks_and_the_gap_is_named(make_study: Any) -> None:
    study = make_study(13, 13)
    name = study.per_clip("instance", "pixels", {"t_miou": np.linspace(0.1, 0.6, 13)})
    (study.root / "runs" / name / "clips.parquet").unlink()
    data = build(str(study.root))
    row = score(data, "pixels", "t_miou")
    assert row.value == pytest.approx(0.35) and row.low > 0
    assert "missing" in row.reason
    assert any(name in statement.text for statement in data.said("gap"))
