"""Full disks, read-only folders, short reads and writes, vanished mounts, foreign folders."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cache.storage.local
from cache import FeatureStore
from cache.care.verify import verify
from configs.errors import SpatialprobeError, StorageError, StoreError
from tests.stores import fill_store, make_features, make_spec, make_store

SPEC = make_spec()
CHANGING = {"open", "write", "fdatasync", "fsync", "replace", "link", "mkdir"}


class FailingOs:
    """The os module, but the n-th call that changes something fails, and so do all after it."""

    def __init__(self, step: int, code: int) -> None:
        self.left, self.code, self.failed = step, code, False

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in CHANGING:
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            writes = name != "open" or args[1] & (os.O_WRONLY | os.O_RDWR)
            if writes and self.left <= 0:
                self.failed = True
                raise OSError(self.code, os.strerror(self.code))
            self.left -= bool(writes)
            return function(*args, **kwargs)

        return call


@pytest.mark.parametrize(
    ("code", "says"),
    [(errno.ENOSPC, "free some space"), (errno.EROFS, "read-only"), (errno.EIO, "disk reports errors")],
)
def test_a_disk_that_fails_at_every_step_loses_nothing(
    fast_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, says: str
) -> None:
    store = make_store(fast_path / "s", [SPEC], 30, written=[0])
    before = {path: path.read_bytes() for path in Path(store.where).rglob("*") if path.is_file()}
    step, clip, errors = 0, 1, []
    while True:
        failing = FailingOs(step, code)
        with monkeypatch.context() as patch:
            patch.setattr(cache.storage.local, "os", failing)
            try:
                with store.writer(store.clips[clip]) as writer:
                    writer.put(SPEC.name, make_features(SPEC, clip))
            except StorageError as error:
                errors.append(str(error))
        if not failing.failed:
            break
        assert verify(store.backend) == [], step
        fresh = FeatureStore.open(store.where)
        if store.clips[clip] not in fresh.missing():  # the record was written before the disk failed
            clip += 1
        step += 1
    assert step > 10 and errors and all(says in error for error in errors), errors[:1]
    for path, data in before.items():
        assert path.read_bytes() == data
    fill_store(FeatureStore.open(store.where))
    assert FeatureStore.open(store.where).missing() == []
    assert verify(store.backend) == []
    assert len(list((Path(store.where) / "tmp").glob("*/*"))) == 0


def test_a_disk_that_fills_up_in_the_middle_of_a_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])

    class Full:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            if len(data) < 100:
                raise OSError(errno.ENOSPC, "No space left on device")
            return os.write(file, data[:100])  # short writes first

    monkeypatch.setattr(cache.storage.local, "os", Full())
    with pytest.raises(StorageError, match="No space left"), store.writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    monkeypatch.undo()
    assert (Path(store.where) / f"features.zarr/{SPEC.name}").is_dir()
    assert store.missing() == ["scene0000"] and not list((Path(store.where) / "tmp").glob("*/*"))


def test_short_reads_and_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def write(self, file: int, data: memoryview) -> int:
            return os.write(file, data[:7])

        def preadv(self, file: int, buffers: list[memoryview], offset: int) -> int:
            return os.preadv(file, [buffers[0][:5]], offset)

    monkeypatch.setattr(cache.storage.local, "os", Slow())
    store = make_store(tmp_path / "s", [SPEC], 1)
    found = store.read([("scene0000", SPEC.name, (3, 1, 2))])
    assert (found[0] == make_features(SPEC, 0).bfloat16()[[3, 1, 2]]).all()
    assert verify(store.backend) == []


def test_a_vanished_mount_is_named_and_never_filled(small: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = small(SPEC, clips=3, written=[0, 1])
    store.read([("scene0000", SPEC.name, [0])])
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    attempts: tuple[Callable[[], object], ...] = (
        lambda: store.read([("scene0001", SPEC.name, [0])]),
        lambda: store.writer("scene0002"),
        lambda: store.refresh(),
        lambda: FeatureStore.open(tmp_path / "store"),
        lambda: store.quarantine("scene0002", "x"),
    )
    for attempt in attempts:
        with pytest.raises(StorageError, match="does not exist") as caught:
            attempt()
        assert "mount the disk again" in str(caught.value)
    assert not (tmp_path / "store").exists()
    (tmp_path / "elsewhere").rename(tmp_path / "store")
    fill_store(store)
    assert verify(store.backend) == []


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="in use by something else"):
        make_store(tmp_path, [SPEC], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(StoreError, match="not a feature store"):
        FeatureStore.open(tmp_path)
    (tmp_path / "file").write_text("a file")
    with pytest.raises(SpatialprobeError):
        make_store(tmp_path / "file", [SPEC], 1)
