"""Prepared toy datasets that tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from tests.data.toy import ToySource

PLANS = ("paper-4", "random_start-4")


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared toy dataset; read only."""
    path = tmp_path_factory.mktemp("artifacts") / "datasets" / "toy"
    prepare(ToySource(), path, plans=PLANS, workers=1)
    return path


@pytest.fixture(scope="session")
def toy(toy_path: Path) -> PreparedDataset:
    return PreparedDataset(toy_path)
