"""Files of an artifact root that somebody has made up: refused or harmless, at once, and nothing outside is touched.

Stores and results have tests of their own, tests/cache/test_hostile_stores.py and tests/probe/results/test_digests.py;
stale data in tests/fusion/test_staleness.py and tests/probe/results/test_stale.py. This is what all kinds share.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from configs.errors import SpatialprobeError
from tests.faults.readers import KINDS, content, files_of

pytestmark = pytest.mark.usefixtures("impatient")

SECONDS = 30
"""Within which everything is refused; most takes milliseconds."""


class Late(BaseException):
    """Something waits or works on; no handler of exceptions may take it for an error of the disk."""


@contextmanager
def soon() -> Iterator[None]:
    def late(*_: object) -> None:
        raise Late(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(root: Path, kind: str, path: Path) -> str:
    """Return what reading a file leads to: `refused`, or `read` with the file named or not. Nothing else is raised."""
    try:
        with soon():
            reading = KINDS[kind][1](root, path)
    except SpatialprobeError:
        return "refused"
    return "named" if path.name in reading.said else "read"


@contextmanager
def put_back(*paths: Path) -> Iterator[None]:
    """Restore files afterwards, whatever stands in their place by then."""
    whole = {path: path.read_bytes() for path in paths}
    try:
        yield
    finally:
        for path, data in whole.items():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            path.write_bytes(data)


MADE_AGAIN = {
    "fit", "table of results", "memory of checks", "evaluation", "log of an extraction", "kept tensor",
    "hash of weights",
}  # fmt: skip
"""Kinds that are made again, or done without, where they can't be read."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_pipe_is_never_waited_for(root: Path, kind: str) -> None:
    path = files_of(root, KINDS[kind][0])[0]
    with put_back(path):
        path.unlink()
        os.mkfifo(path)
        assert outcome(root, kind, path) in ({"read"} if kind in MADE_AGAIN else {"refused", "named"})


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_written_through_a_link(root: Path, kind: str, tmp_path: Path) -> None:
    path = files_of(root, KINDS[kind][0])[0]
    outside = tmp_path / "outside"
    shutil.copy2(path, outside)
    before = outside.stat()
    values = content(KINDS[kind][1](root, path).values)
    with put_back(path):
        path.unlink()
        path.symlink_to(outside)
        if outcome(root, kind, path) == "read":
            assert content(KINDS[kind][1](root, path).values) == values
    after = outside.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert [one.name for one in tmp_path.iterdir()] == ["outside"]
