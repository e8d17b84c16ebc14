"""The space that a store will take, and the check that the disk has it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import FeatureStore, bytes_needed, check_free_space
from configs.errors import StorageError
from tests.stores import make_spec


def test_the_forecast_is_close_and_refuses_what_does_not_fit(
    small: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    big = make_spec(rows=8, grid=(15, 26), channels=256)
    store = small(big, clips=2)
    taken = sum(path.stat().st_size for path in Path(store.where).rglob("*.*") if path.is_file())
    assert bytes_needed([big], 2) == pytest.approx(taken, rel=0.01)  # the rest is what a store begins with
    needed, free = check_free_space(store.where, [big], 2)
    assert needed == bytes_needed([big], 2) and free > needed
    full = shutil.disk_usage(store.where)._replace(free=needed)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(StorageError, match="don't fit on the disk"):
        check_free_space(Path(store.where) / "not/there/yet", [big], 2)
