"""Curves of capacity, data and width: planned along one axis, trained once, printed with intervals."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.cli import main
from configs.errors import ConfigError, MissingError
from configs.loader import resolve
from probe.__main__ import VERBS
from probe.config import curve_layers
from probe.report.runs.collect import collect
from probe.results.survey import survey
from probe.studies.curve import intervals_of, plan_curve
from tests.probe.networks import TINY

Configure = Callable[..., Any]


def words(root: Path, axis: str, task: str = "tagging", **given: Any) -> dict[str, str]:
    options = {"axis": axis, "task": task, "model": "speckle", "root": str(root), "profile": "debug", **TINY}
    options |= {"head.width": "16"} if task == "tagging" else {}
    return options | {key.replace("__", "."): str(value) for key, value in given.items()}


def curve(*given: Any, **options: Any) -> int:
    return main("probe", "", VERBS, ["curve", *(f"{key}={value}" for key, value in words(*given, **options).items())])


def planned(*given: Any, **options: Any) -> Any:
    overrides = words(*given, **options)
    layers = curve_layers(overrides)
    return plan_curve(resolve(layers.start, layers.values, overrides))


def results(root: Path) -> list[dict[str, Any]]:
    return survey(str(root)).whole


def rows(printed: str) -> list[list[str]]:
    """Cells of the printed table, without header."""
    lines = printed.splitlines()
    (rule,) = (i for i, line in enumerate(lines) if line.startswith("---"))
    body = [line for line in lines[rule + 1 :] if line.startswith("speckle")]
    return [re.split(r"\s{2,}", line) for line in body]


def test_capacity(artifacts: Path, capsys: Any) -> None:
    assert curve(artifacts, "capacity", points="1,linear") == 0
    first = capsys.readouterr().out
    found = {result["depth"]: result for result in results(artifacts)}
    assert list(found) and set(found) == {"linear", "1"}
    assert [row[2] for row in rows(first)] == ["linear", "1"]
    for row in rows(first):  # what the results file says, which was written by another path
        score = found[row[2]]["report"]["map"]
        assert f"{score['estimate']:.4g}" in row  # few rooms: no interval
    assert {result["probes_in_pass"] for result in found.values()} == {2}
    stamps = {result["run_id"]: result["finished_at"] for result in results(artifacts)}
    assert curve(artifacts, "capacity", points="1,linear,0") == 0  # only what is missing
    more = {result["run_id"]: result["finished_at"] for result in results(artifacts)}
    assert len(more) == 3 and stamps.items() < more.items()


def test_data(artifacts: Path, capsys: Any, configure: Configure) -> None:
    assert curve(artifacts, "data", points="1,0.5", recipe__unit="epochs", recipe__length=2) == 0
    printed = capsys.readouterr().out
    assert "data curve with equal steps" in printed
    half, whole = sorted(results(artifacts), key=lambda result: result["fraction"])
    assert (half["steps"], half["clips"]["train"], half["rooms"]["train"]) == (whole["steps"], 3, 3)
    assert [row[2:5] for row in rows(printed)] == [["0.5", "3", "3"], ["1", "6", "6"]]
    assert curve(artifacts, "data", points="0.5", data_budget="epochs", recipe__unit="epochs", recipe__length=2) == 0
    assert sorted(result["steps"] for result in results(artifacts)) == [2, 6, 6]


def test_width(own_artifacts: Path, capsys: Any) -> None:
    assert curve(own_artifacts, "width", points="3,full") == 0
    found = {result["source"]: result for result in results(own_artifacts)}
    assert {name: result["channels"] for name, result in found.items()} == {"speckle@pca3": 3, "speckle": 8}
    assert [row[2] for row in rows(capsys.readouterr().out)] == ["3", "8"]
    assert {result["probes_in_pass"] for result in found.values()} == {2}  # one pass, as in a sweep
    with pytest.raises(ConfigError, match="at most 8"):
        planned(own_artifacts, "width", points="9")


def test_default_points(own_artifacts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def places(axis: str) -> list[str]:
        plans = [plan for part in planned(own_artifacts, axis) for plan in part.plans]  # projections are fitted
        return [
            {"capacity": plan.depth, "data": f"{plan.config.how.fraction:g}"}.get(axis, plan.config.what.model[0])
            for plan in plans
        ]

    assert places("capacity") == ["linear", "0", "1", "2", "4"]
    assert places("data") == ["0.1", "0.25", "0.5", "1"]
    assert places("width") == ["speckle"]  # none of the usual widths is below eight channels
    monkeypatch.setattr("probe.studies.curve.WIDTHS", ("2", "4", "8"))
    assert places("width") == ["speckle@pca2", "speckle@pca4", "speckle"]


def test_seeds_are_averaged(artifacts: Path, capsys: Any) -> None:
    """The estimate is the mean over rooms of the mean over seeds, as the report has it."""
    assert curve(artifacts, "capacity", "instance", points="0", seeds="0,1") == 0
    (row,) = rows(capsys.readouterr().out)
    runs = collect(str(artifacts)).runs
    tables = [pd.read_parquet(run.folder / "clips.parquet") for run in runs]
    seeds = [t[(t["split"] == "report") & (t["metric"] == "t_miou")].sort_values("clip_id")["value"] for t in tables]
    found = intervals_of(runs, 50)["t_miou"]
    assert found.value == pytest.approx(np.mean([seed.to_numpy() for seed in seeds]))
    assert f"{found.value:.4g}" in row and "2" in row and found.reason.startswith("fewer than 12 rooms")


@pytest.mark.parametrize(
    ("axis", "given", "problem"),
    [
        ("capacity", {"points": "deep"}, "depths takes"),
        ("capacity", {"depths": "1"}, "axis=capacity sets depths= itself"),
        ("data", {"fraction": "0.5"}, "axis=data sets fraction= itself"),
        ("data", {"points": "0"}, "shares of the clips"),
        ("data", {"points": "half"}, "shares of the clips"),
        ("width", {"points": "0"}, "channels, or full"),
        ("width", {"model": "speckle@pca3"}, "single models"),
        ("noise", {}, "axis"),
    ],
)
def test_refused(own_artifacts: Path, axis: str, given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        planned(own_artifacts, axis, **given)
    assert not (own_artifacts / "runs").exists()


def test_tables_that_are_gone(artifacts: Path) -> None:
    assert curve(artifacts, "capacity", points="0") == 0
    (run,) = collect(str(artifacts)).runs
    (run.folder / "clips.parquet").unlink()
    with pytest.raises(MissingError, match="no intervals"):
        intervals_of(collect(str(artifacts)).runs, 50)
