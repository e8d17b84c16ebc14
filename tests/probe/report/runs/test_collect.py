"""Runs on disk that a report reads: damaged, contradictory, unknown ones are left out and named."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from probe.report.build import build
from probe.tasks.tagging.metrics import tagging_score
from tests.probe.report.rows import LABELS, RATES, logits, score


def test_tables_that_contradict_the_results_file_are_not_used(study: Any) -> None:
    name = study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    path = study.root / "runs" / name / "clips.parquet"
    table = pd.read_parquet(path)
    table["value"] = 0.9
    table.to_parquet(path)
    study.seal(name)
    data = build(str(study.root))
    assert score(data, "pixels", "t_miou").value == pytest.approx(0.1)
    assert any("results file 0.1" in statement.text for statement in data.said("gap"))


def test_a_damaged_results_file_is_left_out_and_named(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    (study.root / "results" / "0123456789abcdef.json").write_text("{")
    data = build(str(study.root))
    assert len(data.table("runs")) == 1
    assert any("0123456789abcdef" in statement.text for statement in data.said("gap"))


def test_results_parquet_is_written_again(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    path = study.root / "results" / "results.parquet"
    build(str(study.root))
    first = pd.read_parquet(path)
    path.unlink()
    again = build(str(study.root))
    pd.testing.assert_frame_equal(pd.read_parquet(path), first)
    study.per_clip("instance", "position", {"t_miou": [0.2] * 6})
    build(str(study.root))
    assert len(pd.read_parquet(path)) == len(again.table("runs")) + 1


def test_an_empty_root_says_so(tmp_path: Any) -> None:
    data = build(str(tmp_path))
    assert all(len(data.table(name)) == 0 for name in data.tables if name not in ("published", "scatter", "cells"))
    assert "no finished run" in data.said("warning")[0].text


def test_predictions_of_other_clips_are_not_used(study: Any) -> None:
    name = study.tagging("pixels", logits(0), LABELS)
    path = study.root / "runs" / name / "predictions.parquet"
    pd.read_parquet(path).iloc[1:].to_parquet(path)
    study.seal(name)
    data = build(str(study.root))
    assert score(data, "pixels", "map").on_clips == pytest.approx(tagging_score(LABELS, logits(0), RATES).values["map"])
    assert any("other clips" in statement.text for statement in data.said("gap"))


def test_runs_of_an_unknown_task_are_left_out_and_named(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    name = study.per_clip("instance", "position", {"t_miou": [0.1] * 6})
    study.seal(name, task="flow")
    data = build(str(study.root))
    assert data.table("runs").source.tolist() == ["pixels"]
    assert any("task flow" in statement.text for statement in data.said("gap"))
