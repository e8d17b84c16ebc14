"""What all tests share: the rules of `tests/skips.py`, and a folder of real data."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest_plugins = ["tests.skips"]


@pytest.fixture
def realdata() -> Path:
    """Folder of real recordings; tests that use it carry the marker `realdata`."""
    return Path(os.environ["SPATIALPROBE_REALDATA"])
