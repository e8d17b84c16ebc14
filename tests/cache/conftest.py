"""What the tests of the store share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cache import ArraySpec, FeatureStore
from cache.synthetic import make_spec, make_store


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., FeatureStore]:
    """Makes a small local store below tmp_path."""

    def make(*specs: ArraySpec, clips: int = 3, name: str = "store", **options: object) -> FeatureStore:
        return make_store(tmp_path / name, specs or (make_spec(),), clips, **options)  # type: ignore[arg-type]

    return make
