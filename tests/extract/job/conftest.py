"""What the tests of jobs share: the store that an undisturbed job makes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.extract.job.jobs import checksums, config, run, store_of


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, toy_dataset: Path) -> dict[str, object]:
    """Checksums of a store made without any trouble."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "datasets").mkdir()
    (root / "datasets" / "toy").symlink_to(toy_dataset)
    assert run(config(root)) == 0
    return checksums(store_of(config(root)))
