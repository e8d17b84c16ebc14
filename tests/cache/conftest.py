"""What the tests of the store share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cache import ArraySpec, FeatureStore
from tests.stores import make_spec, make_store


@pytest.fixture
def fast_path() -> Iterator[Path]:
    """A folder in memory where there is one: killed processes lose nothing there, and flushing is free."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., FeatureStore]:
    """Makes a small local store below tmp_path."""

    def make(*specs: ArraySpec, clips: int = 3, name: str = "store", **options: object) -> FeatureStore:
        return make_store(tmp_path / name, specs or (make_spec(),), clips, **options)  # type: ignore[arg-type]

    return make
