"""The task that docs/add-a-task.md builds is found, trains and is reported, as a plug-in: from its own folder alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import probe.tasks
from configs.cli import main
from configs.errors import ConfigError
from probe.__main__ import VERBS
from probe.report.build import build
from probe.task import Metric, find_metric, known_metrics, load_task, task_names
from probe.train.train import train

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = REPOSITORY / "docs" / "add-a-task.md"


@pytest.fixture
def write_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Writes the documented task into a plug-in, changed by (old, new) pairs of its declaration; returns its folder."""
    monkeypatch.setattr(probe.tasks, "__path__", [*probe.tasks.__path__])
    monkeypatch.setenv("SPATIALPROBE_PLUGINS", str(tmp_path / "plugin"))

    def write(*changes: tuple[str, str], name: str = "brightness") -> Path:
        blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
        folder = tmp_path / "plugin" / "probe" / "tasks" / name
        folder.mkdir(parents=True)
        for old, new in changes:
            assert old in blocks[0]
            blocks[0] = blocks[0].replace(old, new)
        for file, text in zip(("__init__.py", "profiles.yaml", "module.py", "evaluation.py"), blocks, strict=True):
            (folder / file).write_text(text.replace("brightness", name), encoding="utf-8")
        for module in [module for module in sys.modules if module.startswith(f"probe.tasks.{name}")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.delattr(probe.tasks, name, raising=False)
        return folder

    return write


def options(root: Path, **overrides: str) -> Any:
    from probe.config import read_run

    words = {"task": "brightness", "profile": "debug", "model": "speckle", "root": str(root), "device": "cpu"}
    words |= {"resamples": "20", **overrides}
    return read_run(words)


def call(*words: str) -> int:
    return main("probe", "", VERBS, words)


def test_documented_task_trains_and_is_reported(
    artifacts: Path, write_task: Callable[..., Path], configure: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_task()
    assert "brightness" in task_names()
    (beside,) = train(configure(artifacts, "instance"))
    real, twin = train(options(artifacts, control="true"))
    assert real["report"]["abs_error"]["n"] == 3 and twin["control_of"] == real["run_id"]
    predictions = pd.read_parquet(artifacts / "runs" / real["run_id"] / "predictions.parquet")
    assert predictions["brightness"].notna().all()
    errors = [row["report"]["abs_error"]["value"] for row in (real, twin)]
    assert twin["selectivity"]["abs_error"] == pytest.approx(errors[1] - errors[0])  # lower is better
    deep = train(options(artifacts, model="deep", layers="all"))

    capsys.readouterr()
    assert call("report", f"root={artifacts}") == 0, capsys.readouterr().err
    page = (artifacts / "report" / "index.html").read_text(encoding="utf-8")
    words = (artifacts / "report" / "report.md").read_text(encoding="utf-8")
    assert "brightness: toy, profile debug" in page and "brightness error\N{NO-BREAK SPACE}↓" in page
    assert f"{errors[0]:.3f}" in words
    scores = pd.read_parquet(artifacts / "report" / "tables" / "scores.parquet")
    mine = scores[(scores["metric"] == "abs_error") & (scores["source"] == "speckle")].iloc[0]
    assert (mine["title"], mine["better"]) == ("brightness error", "lower") and mine["value"] == pytest.approx(
        errors[0]
    )
    best = min(deep, key=lambda row: row["select"]["abs_error"]["value"])
    chosen = scores[(scores["metric"] == "abs_error") & (scores["source"] == "deep") & scores["chosen"]]
    assert list(chosen["array"]) == [best["array"]]
    assert set(scores["task"]) == {"brightness", "instance"}
    main_table = pd.read_parquet(artifacts / "report" / "tables" / "main.parquet")
    assert "abs_error" not in main_table  # the published layout has no column for it
    ours = main_table[main_table["origin"] == "ours"]
    assert list(ours["t_miou"]) == pytest.approx([beside["report"]["t_miou"]["value"]])

    assert call("runs", f"root={artifacts}") == 0
    assert "brightness error" in capsys.readouterr().out
    assert call("compare", real["run_id"], deep[0]["run_id"], f"root={artifacts}") == 0
    assert re.search(r"abs_error .* lower", capsys.readouterr().out)
    words_of_sweep = ["task=brightness", "profile=debug", "model=deep", "layers=all", "device=cpu", "resamples=20"]
    assert call("sweep", *words_of_sweep, f"root={artifacts}") == 0
    (starred,) = [line for line in capsys.readouterr().out.splitlines() if re.match(r"\s*\* +deep ", line)]
    assert best["array"] in starred


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(folder), "MYPYPATH": str(folder), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-m", *words]
    return subprocess.run(call, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def in_place(write_task: Callable[..., Path], tmp_path: Path) -> Path:
    """A copy of the project that has the task as one of its own: checkers look for a package in one folder only."""
    folder, copy = write_task(), tmp_path / "copy"
    copy.mkdir()
    for name in ("configs", "data", "cache", "extract", "fusion", "pyproject.toml"):
        (copy / name).symlink_to(REPOSITORY / name)
    shutil.copytree(REPOSITORY / "probe", copy / "probe", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(folder, copy / "probe" / "tasks" / "brightness")
    return copy


def test_it_is_linted_and_formatted(in_place: Path) -> None:
    for words in (("check",), ("format", "--check")):
        done = run(in_place, "ruff", *words, "--no-cache", "probe/tasks/brightness")
        assert done.returncode == 0, done.stdout


@pytest.mark.full
def test_its_types_are_right(in_place: Path) -> None:
    done = run(in_place, "mypy", "--cache-dir", str(in_place / "mypy"), "-p", "probe.tasks.brightness")
    assert done.returncode == 0, done.stdout


def test_it_passes_the_built_in_tests(write_task: Callable[..., Path]) -> None:
    write_task()
    (documented,) = re.findall(r"^ +pytest (\S+ -k brightness)$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    done = run(REPOSITORY, "pytest", *documented.split())
    assert done.returncode == 0 and "4 passed" in done.stdout, done.stdout[-4000:]


def test_its_runs_do_not_disturb_those_of_other_tasks(study: Any, write_task: Callable[..., Path]) -> None:
    write_task()
    for i, source in enumerate(("qwen3-vl-2b", "wan-t2v-1.3b", "position", "oracle")):
        study.per_clip("instance", source, {"t_miou": [0.1 * i + 0.5] * 6, "t_sr": [0.25] * 6})
    before = build(str(study.root))
    for i, source in enumerate(("qwen3-vl-2b", "wan-t2v-1.3b", "position", "oracle")):
        study.per_clip("brightness", source, {"abs_error": [0.1 * i + 0.01 * k for k in range(6)]})
    after = build(str(study.root))
    columns = ["label", "origin", "layers", "note", "t_miou", "t_miou.low", "t_miou.high"]
    pd.testing.assert_frame_equal(before.table("main")[columns], after.table("main")[columns])
    rows = after.table("controls")
    mine = rows[rows["task"] == "brightness"]
    assert set(mine["metric"]) == {"abs_error"} and len(mine) == 4  # two models beside two controls
    first = mine[(mine["source"] == "qwen3-vl-2b") & (mine["control"] == "position")].iloc[0]
    assert first["difference"] == pytest.approx(-0.2) and first["advantage"] == pytest.approx(0.2)
    assert any("brightness, ordered by abs_error (lower is better): Qwen3-VL-2B" in s.text for s in after.words)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            ('metrics={"abs_error": Metric("brightness error", "lower", "share of full brightness")},', "metrics={},"),
            "abs_error",
        ),
        (('{"abs_error":', '{"map": Metric("mAP", "higher"), "abs_error":'), "defined already"),
        (("TASK = Task(", "TASK = Tusk("), "NameError"),
        (('Task(\n    "brightness"', 'Task(\n    "darkness"'), "is not declared"),
    ],
)
def test_runs_of_a_badly_declared_task_are_a_gap(
    study: Any, write_task: Callable[..., Path], change: tuple[str, str], problem: str
) -> None:
    study.per_clip("instance", "oracle", {"t_miou": [0.5] * 6, "t_sr": [0.25] * 6})
    study.per_clip("brightness", "oracle", {"abs_error": [0.1] * 6})
    folder = write_task(change)
    data = build(str(study.root))
    (gap,) = [s.text for s in data.said("gap") if "left out" in s.text]
    assert "brightness" in gap and problem in gap and str(folder / "__init__.py") in gap
    assert set(data.table("scores")["task"]) == {"instance"}


def test_a_main_metric_that_is_not_described_is_refused_before_training(
    artifacts: Path, write_task: Callable[..., Path]
) -> None:
    write_task(('headline="abs_error"', 'headline="error"'))
    with pytest.raises(ConfigError, match="main metric of task 'brightness'") as caught:
        train(options(artifacts))
    assert "metrics=" in str(caught.value.fix) and str(caught.value.found) == "declared: abs_error"
    assert not (artifacts / "runs").exists()


@pytest.mark.parametrize("column", ["has_brightness", "group_id"])
def test_a_wrong_label_column_is_explained(artifacts: Path, write_task: Callable[..., Path], column: str) -> None:
    folder = write_task(('label_column="has_depth"', f'label_column="{column}"'))
    with pytest.raises(ConfigError, match="column of labels") as caught:
        train(options(artifacts))
    error = caught.value
    assert "has_depth" in str(error.expected) and "group_id" not in str(error.expected)
    assert column in str(error.found) and error.where == folder / "__init__.py"
    assert not (artifacts / "runs").exists()


def test_a_wrong_label_column_does_not_disturb_other_tasks(
    artifacts: Path, write_task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from configs.errors import MissingError
    from probe.inputs.inputs import RememberingDataset, check_truth

    write_task(('label_column="has_depth"', 'label_column="has_brightness"'))
    dataset = RememberingDataset(artifacts / "datasets" / "toy")
    clips: Any = dataset.clips
    monkeypatch.setitem(clips, "has_tags", False)
    with pytest.raises(MissingError, match="no clip of this dataset has ground truth for tagging") as caught:
        check_truth(dataset, load_task("tagging"))
    assert caught.value.found == "ground truth for geometry, instance"


@pytest.mark.parametrize("task", ["brightness", "tagging"])
def test_a_profile_that_a_task_lacks_is_explained(
    task: str, artifacts: Path, write_task: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import shutil

    from configs import loader

    write_task()
    shutil.copytree(loader.CONFIG_FOLDER / "profile", tmp_path / "configs" / "profile")
    (tmp_path / "configs" / "profile" / "mine.yaml").write_text("geometry: {}\n")
    monkeypatch.setattr(loader, "CONFIG_FOLDER", tmp_path / "configs")
    assert call("train", f"task={task}", "profile=mine", "model=speckle", f"root={artifacts}") == 2
    err = capsys.readouterr().err
    others = {"brightness": "debug", "tagging": "compact, cpu, debug, paper, smoke"}[task]
    assert f"task '{task}' has no profile 'mine'" in err and f"expected: {others}\n" in err
    assert "Traceback" not in err


def test_metrics_of_tasks_are_found_by_key(write_task: Callable[..., Path]) -> None:
    unit = ("share of full brightness", "share")
    title = ("brightness error", "error")
    write_task(title, unit)
    assert find_metric("abs_error") == Metric("error", "lower", "share")
    assert find_metric("abs_rel") == load_task("geometry").metrics["abs_rel"] and find_metric("no such") is None
    write_task(title, unit, name="dimness")  # says the same of it
    assert find_metric("abs_error") == Metric("error", "lower", "share")
    write_task(title, unit, ('"lower"', '"higher"'), name="glare")
    with pytest.raises(ConfigError, match="declare metric 'abs_error' differently"):
        find_metric("abs_error")
    assert known_metrics("glare")["abs_error"].better == "higher"


def test_built_in_tasks_are_found(configure: Callable[..., Any]) -> None:
    assert task_names() == ["geometry", "instance", "tagging"]
    for name in task_names():
        assert load_task(name).name == name
