"""A toy dataset with stores, small enough that whole training runs take seconds; studies of invented numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data.prepare.prepare import prepare
from probe.inputs.inputs import RememberingDataset
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps, oracle_maps
from tests.probe.networks import TINY
from tests.probe.study import Study

SPLITS = ["train"] * 6 + ["select"] * 3 + ["report"] * 3


def toy_shapes() -> dict[str, Shape]:
    return {f"room_{i:02d}": Shape(query_only=True, split=split) for i, split in enumerate(SPLITS)}


@pytest.fixture(scope="session")
def toy_artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact root with dataset `toy` and the stores `speckle` (one array) and `deep` (blocks 1 and 2); read only."""
    root = tmp_path_factory.mktemp("probe")
    path = root / "datasets" / "toy"
    prepare(ToySource(toy_shapes()), path, plans=("paper-2",), workers=1)
    dataset = RememberingDataset(path)
    make_store(root, dataset, "speckle", {None: noise_maps()})
    make_store(root, dataset, "deep", {1: noise_maps(6), 2: oracle_maps(("depth", "classes"), (4, 4))})
    return root


@pytest.fixture
def artifacts(toy_artifacts: Path, tmp_path: Path) -> Path:
    """A private root that shares dataset and stores, for runs and results of one test."""
    root = tmp_path / "artifacts"
    root.mkdir()
    for name in ("datasets", "features"):
        (root / name).symlink_to(toy_artifacts / name)
    return root


@pytest.fixture
def own_artifacts(toy_artifacts: Path, tmp_path: Path) -> Path:
    """A private root whose dataset and stores may be changed."""
    root = tmp_path / "own"
    shutil.copytree(toy_artifacts, root)
    return root


@pytest.fixture(scope="session")
def trained_once(toy_artifacts: Path, tmp_path_factory: pytest.TempPathFactory, configure: Callable[..., Any]) -> Path:
    """Runs and results of `configure(root, task)`, one per task; read only."""
    from probe.train.train import train

    root = tmp_path_factory.mktemp("trained")
    for name in ("datasets", "features"):
        (root / name).symlink_to(toy_artifacts / name)
    for task in ("tagging", "instance", "geometry"):
        train(configure(root, task))
    return root


@pytest.fixture
def trained(trained_once: Path, artifacts: Path) -> Path:
    """A private root where `train(configure(root, task))` finds its run finished."""
    for name in ("runs", "results"):
        shutil.copytree(trained_once / name, artifacts / name)
    return artifacts


@pytest.fixture(scope="session")
def configure() -> Callable[..., Any]:
    """Return the configuration of a run in profile debug, with overrides."""

    def make(root: Path, task: str, **overrides: Any) -> Any:
        from probe.config import read_run

        head = {"head.width": "16"} if task == "tagging" else {"dpt.features": "8"} if task == "geometry" else {}
        words = {"task": task, "root": str(root), "profile": "debug", "model": "speckle", **TINY, **head}
        words |= {key.replace("__", "."): str(value) for key, value in overrides.items()}
        return read_run(words)

    return make


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Six clips in three rooms."""
    return Study(tmp_path / "artifacts")


@pytest.fixture
def make_study(tmp_path: Path) -> Any:
    """Makes a study of any size."""
    return lambda clips, rooms, name="artifacts": Study(tmp_path / name, clips, rooms)


@pytest.fixture(scope="session")
def study_class() -> type[Study]:
    """For fixtures of wider scope."""
    return Study
