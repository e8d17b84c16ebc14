"""A small workspace in which the examples of the documentation run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import run_verb


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `artifacts/`: the nano rooms, two sources on them and one short run per task."""
    home = tmp_path_factory.mktemp("workspace")
    root = f"root={home / 'artifacts'}"
    assert run_verb("data", "prepare", "kind=rooms", "preset=nano", "workers=1", root) == 0
    for model in ("oracle", "position"):
        assert run_verb("extract", "run", f"model={model}", "dataset=rooms-nano", "grid=4x6", "workers=1", root) == 0
    for task in ("tagging", "instance", "geometry"):
        words = (f"task={task}", "model=oracle", "dataset=rooms-nano", "profile=debug", "pictures=0", root)
        assert run_verb("probe", "train", *words) == 0
    return home
