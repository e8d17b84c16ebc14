"""What the tests of extraction share: a prepared toy dataset, a cache of tiny twins, small clips."""

from __future__ import annotations

from pathlib import Path

import pytest

from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource

SHAPES = {f"clip_{number:02d}": Shape() for number in range(6)} | {"short_00": Shape(frames=30)}


@pytest.fixture(scope="session")
def toy_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a prepared dataset of 7 clips, one of them of 30 frames; read only."""
    path = tmp_path_factory.mktemp("extract-data") / "toy"
    prepare(ToySource(SHAPES), path, plans=(), workers=1)
    return path


@pytest.fixture
def root(tmp_path: Path, toy_dataset: Path) -> Path:
    """An artifact root of the test's own that holds the toy dataset."""
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets" / "toy").symlink_to(toy_dataset)
    return tmp_path


@pytest.fixture(scope="session")
def tiny_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder for tiny twins, prompts and latents of the whole session."""
    return str(tmp_path_factory.mktemp("extract-cache"))
