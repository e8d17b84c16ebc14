"""Every number can be traced to a Parquet row and to runs; sentences rest on cells that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.errors import MissingError
from probe.report.build import build
from probe.report.columns import COLUMNS
from probe.report.config import ReportConfig, command_of
from probe.report.contract import ReportData
from probe.report.tables.schema import TABLES
from probe.report.write import write_tables
from tests.probe.report.rows import seeds

LABELS = np.random.default_rng(0).random((12, 3)) < 0.5


@pytest.fixture(scope="module")
def whole(study_class: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A study with all three tasks, two models of two layers, and controls."""
    study = study_class(tmp_path_factory.mktemp("whole"), 12, 6)
    rng = np.random.default_rng(3)
    sources = ("qwen3-vl-2b-tiny-random", "wan-t2v-1.3b-tiny-random", "position", "pixels", "oracle")
    for i, source in enumerate(sources):
        signal = LABELS * (4.0 if source == "oracle" else 0.3 * i)
        blocks = (1, 2) if i < 2 else (None,)
        for block in blocks:
            options = {"block": block, "tap": source if i > 1 else "llm"}
            study.tagging(source, signal + rng.normal(size=(12, 3)), LABELS, **options)
            study.per_clip("instance", source, {"t_miou": rng.random(12) + i, "t_sr": rng.random(12)}, **options)
            columns = {c.metric: rng.random(12) + (5 - i) for c in COLUMNS if c.task == "geometry"}
            study.per_clip("geometry", source, columns, **options)
    return study


@pytest.fixture(scope="module")
def data(whole: Any) -> ReportData:
    """The report on it."""
    return build(str(whole.root))


def test_every_cell_leads_to_its_number(whole: Any, data: ReportData, tmp_path: Path) -> None:
    write_tables(data, tmp_path / "report")
    read = {name: whole.read(tmp_path / "report", name) for name in TABLES}
    cells = read["cells"].set_index("cell")
    assert cells.index.is_unique
    runs = set(read["runs"].run_id)
    for cell in cells.itertuples():
        value = read[cell.table].iloc[cell.row][cell.column]
        assert value == cell.value or (pd.isna(value) and pd.isna(cell.value))
    assert set(cells.loc[cells.table == "scores", "runs"].str.split(",").explode()) <= runs
    checked = 0
    for name in ("layers", "classes", "pairs", "controls", "radar", "scores"):
        for record in read[name].to_dict("records"):
            number = record.get("difference", record.get("value"))
            if number is not None:
                assert cells.value[record["cell"]] == pytest.approx(number, nan_ok=True)
                checked += 1
    for record in read["main"].to_dict("records"):
        for column in COLUMNS:
            if pd.notna(record[column.metric]):
                assert cells.value[record[f"{column.metric}.cell"]] == pytest.approx(record[column.metric])
                checked += 1
    assert checked > 200


def test_sentences_rest_on_cells_that_exist(data: ReportData) -> None:
    cells = set(data.table("cells").cell)
    assert all(set(statement.cells) <= cells for statement in data.words)
    assert any(statement.cells for statement in data.said("finding"))


def test_the_same_runs_give_the_same_tables(whole: Any, data: ReportData) -> None:
    again = build(str(whole.root))
    for name in TABLES:
        pd.testing.assert_frame_equal(data.table(name), again.table(name))
    assert data.words == again.words


def test_words_rank_the_oracle_and_admit_what_six_rooms_cannot_show(data: ReportData) -> None:
    order = next(s.text for s in data.said("finding", "tagging") if "ordered by mAP" in s.text)
    assert order.index("Ground truth") < order.index("Qwen3-VL-2B")
    limits = " ".join(s.text for s in data.said("limit"))
    assert "each model against position and pixels: nothing could be tested (fewer than 18 rooms: 6)" in limits
    assert "can't be answered" in limits
    assert "published weights" in limits
    warnings = " ".join(s.text for s in data.said("warning"))
    assert "random weights" in warnings
    assert "6 rooms for tagging, of 18" in warnings and "6 rooms for instance, of 12" in warnings


def test_with_enough_rooms_a_model_is_better_than_its_twin(make_study: Any) -> None:
    study = make_study(24, 12)
    rng = np.random.default_rng(1)
    for i, source in enumerate(("qwen3-vl-2b", "qwen3-vl-2b-random", "internvl3-1b", "internvl3-1b-random", "oracle")):
        seeds(study, "instance", source, {"t_miou": rng.random(24) * 0.1 + 0.2 * (i == 0) + 0.5 * (i == 4)}, tap=source)
    data = build(str(study.root))
    (found,) = [s.text for s in data.said("finding", "instance") if "untrained twin" in s.text]
    assert found.startswith(
        "Instance grouping, each model against its untrained twin: 1 of 2 differs by T-mIoU, corrected for 2 "
        "comparisons: Qwen3-VL-2B over Qwen3-VL-2B (untrained) by "
    )
    explored = " ".join(s.text for s in data.said("exploratory", "instance"))
    assert "ground truth as features against each model, 2 comparisons by T-mIoU; the clearest: Ground" in explored
    assert not any("Ground truth over" in s.text for s in data.said("finding"))


def test_gaps_name_what_is_missing_and_the_command(study: Any) -> None:
    study.per_clip("instance", "qwen3-vl-2b", {"t_miou": [0.1] * 6})
    gaps = " ".join(s.text for s in build(str(study.root)).said("gap"))
    for words in ("No runs of Semantic tagging", "task=geometry", "No oracle row", "No untrained twin of qwen3-vl-2b"):
        assert words in gaps


def test_a_table_without_a_documented_column_is_refused(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    data = build(str(study.root))
    tables = {**data.tables, "pairs": data.table("pairs").drop(columns="p_corrected")}
    with pytest.raises(Exception, match="p_corrected"):
        ReportData(tables, data.words)
    with pytest.raises(Exception, match="missing"):
        ReportData({k: v for k, v in data.tables.items() if k != "main"}, data.words)


def test_the_report_names_its_command() -> None:
    assert (
        command_of(ReportConfig(dataset="toy", resamples=500)) == "spatialprobe probe report dataset=toy resamples=500"
    )
    assert command_of(ReportConfig(out="/tmp/my report")) == "spatialprobe probe report out='/tmp/my report'"
    assert shlex.split(command_of(ReportConfig(out="/tmp/my report")))[-1] == "out=/tmp/my report"


def test_a_report_on_nothing_names_what_there_is(study: Any) -> None:
    """A slip in dataset= would otherwise replace the report by an empty one."""
    assert build(str(study.root), dataset="toy").said("warning")[0].text.startswith("There is no finished run")
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    assert len(build(str(study.root), dataset="toy", profile="smoke").table("runs")) == 1
    with pytest.raises(MissingError, match="dataset=toy profile=smoke"):
        build(str(study.root), dataset="tyo")


def test_the_documentation_names_every_table() -> None:
    page = (Path(__file__).parents[4] / "docs" / "report.md").read_text(encoding="utf-8")
    listed = {name for line in page.splitlines() if line.startswith("| `") for name in re.findall(r"`(\w+)`", line)}
    assert listed == set(TABLES)


def test_several_boards_are_named_in_each_sentence(study: Any) -> None:
    for source in ("pixels", "position"):
        study.per_clip("instance", source, {"t_miou": [0.1, 0.2, 0.3] * 2}, tap=source)
        study.per_clip("instance", source, {"t_miou": [0.1, 0.2, 0.4] * 2}, tap=source, split_scheme="paper")
    found = [s.text for s in build(str(study.root)).said("finding", "instance")]
    assert sorted(text.split("]")[0] for text in found) == [
        "[toy, profile smoke",
        "[toy, profile smoke, split_scheme paper",
    ]
