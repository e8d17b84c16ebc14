"""The task that docs/add-a-task.md builds is found and trains, from its own folder alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import probe.tasks
from probe.tasks import load_task, task_names
from probe.train import train

DOCUMENT = Path(__file__).parents[3] / "docs" / "add-a-task.md"


@pytest.fixture
def brightness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```(?:python|yaml)\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    folder = tmp_path / "tasks" / "brightness"
    folder.mkdir(parents=True)
    for name, text in zip(("__init__.py", "profiles.yaml", "module.py", "evaluation.py"), blocks, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(probe.tasks, "__path__", [*probe.tasks.__path__, str(folder.parent)])


@pytest.mark.usefixtures("brightness")
def test_documented_task_trains(artifacts: Path) -> None:
    from configs.loader import resolve
    from probe.config import train_layers

    assert "brightness" in task_names()
    words = {"task": "brightness", "profile": "debug", "model": "speckle", "root": str(artifacts), "device": "cpu"}
    layers = train_layers(words)
    config: Any = resolve(layers.schema, layers.values, {**words, "control": "true", "resamples": "20"})
    real, twin = train(config)
    assert real["report"]["abs_error"]["n"] == 3 and twin["control_of"] == real["run_id"]
    predictions = pd.read_parquet(artifacts / "runs" / real["run_id"] / "predictions.parquet")
    assert predictions["brightness"].notna().all()


def test_built_in_tasks_are_found(configure: Callable[..., Any]) -> None:
    assert task_names() == ["geometry", "instance", "tagging"]
    for name in task_names():
        assert load_task(name).name == name
