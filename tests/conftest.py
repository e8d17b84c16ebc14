"""What all tests share: long and GPU tests are chosen by marker, real data by an environment variable."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also run the long versions")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if "full" in item.keywords and not config.getoption("--full"):
            item.add_marker(pytest.mark.skip(reason="long version: make test-full"))
        if "gpu" in item.keywords and not _has_cuda():
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
        if "realdata" in item.keywords and not os.environ.get("SPATIALPROBE_REALDATA"):
            item.add_marker(pytest.mark.skip(reason="SPATIALPROBE_REALDATA is not set"))


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def realdata() -> Path:
    """Folder of real recordings; tests that use it carry the marker `realdata`."""
    return Path(os.environ["SPATIALPROBE_REALDATA"])
