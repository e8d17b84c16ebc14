"""One artifact root for each file of tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.artifacts import make_artifacts


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "artifacts"
    make_artifacts(path)
    return path


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables that don't fit are read a second time after half a second."""
    monkeypatch.setattr("data.dataset.tables.time.sleep", lambda seconds: None)
