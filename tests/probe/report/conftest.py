"""A report of invented numbers over a toy dataset, with stores and run folders to draw pictures from."""

from __future__ import annotations

from pathlib import Path

import pytest

from cache.locate import locate_store
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from probe.report.contract import ReportData
from probe.report.page.compose import build
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps
from tests.probe.report.sample import BLOCKS, SOURCES, sample, write_runs

SPLITS = ("train", "select", "report", "report")


@pytest.fixture(scope="session")
def page_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact root with dataset `toy`, a store per source of the sample, and run folders; read only."""
    root = tmp_path_factory.mktemp("page")
    shapes = {f"room_{i}": Shape(query_only=True, split=split) for i, split in enumerate(SPLITS)}
    prepare(ToySource(shapes), root / "datasets" / "toy", plans=("paper-2",), workers=1)
    dataset = PreparedDataset.open("toy", root)
    for source in SOURCES:
        blocks = BLOCKS.get(source["source"], (None,))
        make_store(root, dataset, source["source"], {block: noise_maps() for block in blocks})
    write_runs(root, ["room_2", "room_3"])
    return root


@pytest.fixture(scope="session")
def report(page_root: Path) -> ReportData:
    """The sample with everything that pictures need."""
    stores = {str(s["source"]): locate_store(str(page_root), "toy", str(s["source"])).name for s in SOURCES}
    return sample(page_root, stores)


@pytest.fixture(scope="session")
def page(report: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Path of the sample's page."""
    return build(report, tmp_path_factory.mktemp("built") / "report")
