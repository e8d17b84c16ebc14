"""Full disks, read-only folders, vanished mounts, foreign folders, two jobs on one path, wrong clocks, leftovers."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cache.lease
import cache.storage.local
import cache.storage.process
from cache import FeatureStore, bytes_needed, check_free_space, find_stores, locate_store, store_path
from cache.care.prune import prune, unreferenced
from cache.care.verify import verify
from cache.lease import LeaseBoard
from cache.storage.local import LocalBackend
from configs import commands
from configs.errors import CorruptionError, MissingError, SpatialprobeError, StaleError, StorageError, StoreError
from tests.cache.storage.memory import MemoryBackend
from tests.stores import FINGERPRINT, fill_store, make_features, make_spec, make_store

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
    found = store.read([("scene0000", SPEC.name, (3, 1, 2))], verify=True)
    assert (found[0] == make_features(SPEC, 0).bfloat16()[[3, 1, 2]]).all()
    assert verify(store.backend) == []


def test_a_vanished_mount_is_named_and_never_filled(small: Callable[..., FeatureStore], tmp_path: Path) -> None:
    store = small(SPEC, clips=3, written=[0, 1])
    store.read([("scene0000", SPEC.name, [0])])
    (tmp_path / "store").rename(tmp_path / "elsewhere")
    for attempt in (
        lambda: store.read([("scene0001", SPEC.name, [0])]),
        lambda: store.writer("scene0002"),
        lambda: store.refresh(),
        lambda: FeatureStore.open(tmp_path / "store"),
        lambda: store.quarantine("scene0002", "x"),
    ):
        with pytest.raises(StorageError, match="does not exist") as caught:
            attempt()  # type: ignore[no-untyped-call]
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


def test_two_jobs_with_different_settings_on_one_path(tmp_path: Path) -> None:
    outcomes: list[object] = []

    def job(prompt: str) -> None:
        try:
            store = make_store(tmp_path / "s", [SPEC], 4, written=[], fingerprint={**FINGERPRINT, "prompt": prompt})
            outcomes.append(fill_store(store))
        except StaleError as error:
            outcomes.append(str(error))

    threads = [threading.Thread(target=job, args=(prompt,)) for prompt in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(isinstance(outcome, str) for outcome in outcomes) == [False, True]
    assert 4 in outcomes and any("prompt: " in str(outcome) for outcome in outcomes)
    assert verify(LocalBackend(tmp_path / "s")) == []


def test_jobs_share_the_clips(fast_path: Path) -> None:
    make_store(fast_path / "s", [SPEC], 24, written=[])
    counts: list[int] = []
    threads = [
        threading.Thread(target=lambda: counts.append(fill_store(FeatureStore.open(fast_path / "s")))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) == 24  # every clip by exactly one
    assert verify(LocalBackend(fast_path / "s")) == []


def test_clocks_are_never_compared(small: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch) -> None:
    store = small(SPEC, clips=2, written=[])
    lease = store.claim("scene0000")
    assert lease is not None
    for jump in (-(10**9), 10**9):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        assert FeatureStore.open(store.where).claim("scene0000") is None
        for path in Path(store.where).rglob("*"):
            os.utime(path, (max(jump, 0), max(jump, 0)))
        assert FeatureStore.open(store.where).claim("scene0000") is None
    with store.writer("scene0000", lease) as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert verify(store.backend) == []


def test_a_silent_lease_of_another_machine_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(cache.lease, "_now", lambda: now)
    backend = MemoryBackend()
    store = make_store(backend, [SPEC], 1, written=[])
    foreign = b'{"holder": {"host": "far", "place": "other", "pid": 7, "started": 1, "token": "x"}, "beat": %d}'
    backend.replace("leases/00000000.0000.json", foreign % 0)
    board = store.board
    assert board.take("00000000") is None
    now += 0.9 * board.timeout
    backend.replace("leases/00000000.0000.json", foreign % 1)  # a heartbeat
    assert board.take("00000000") is None
    now += 0.9 * board.timeout
    assert board.take("00000000") is None
    now += 0.2 * board.timeout
    lease = board.take("00000000")
    assert lease is not None and lease.number == 1
    assert backend.names("leases") == ["00000000.0001.json"]
    now += board.timeout
    assert not lease.holds()  # nor would we still trust our own after such a silence
    with (
        pytest.raises(StoreError, match="lease on clip scene0000 has run out"),
        store.writer("scene0000", lease) as writer,
    ):
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert store.missing() == ["scene0000"]


def test_a_holder_that_slept_through_its_lease_never_damages_a_commit(tmp_path: Path) -> None:
    """Two writers of one clip, as if the second had taken over: the committed values stay, whoever comes late."""
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    late.put(SPEC.name, make_features(SPEC, 99))
    (tmp_path / "s/leases/00000000.0000.json").unlink()
    other = FeatureStore.open(tmp_path / "s")
    with other.writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    with pytest.raises(StoreError, match="has committed other values"), late:
        pass
    assert verify(store.backend) == []
    assert (other.read([("scene0000", SPEC.name, [1])], verify=True)[0] == make_features(SPEC, 0).bfloat16()[[1]]).all()


def test_the_same_values_twice_are_no_conflict(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    late.put(SPEC.name, make_features(SPEC, 0))
    (tmp_path / "s/leases/00000000.0000.json").unlink()
    with FeatureStore.open(tmp_path / "s").writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    with late:
        pass
    assert verify(store.backend) == [] and store.missing() == []


def test_a_commit_overwritten_between_check_and_rename_is_withdrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path / "s", [SPEC], 1, written=[])
    late = store.writer("scene0000")
    late.put(SPEC.name, make_features(SPEC, 99))

    def sleep_and_publish(stage: Any) -> None:
        (tmp_path / "s/leases/00000000.0000.json").unlink()
        with FeatureStore.open(tmp_path / "s").writer("scene0000") as writer:
            writer.put(SPEC.name, make_features(SPEC, 0))
        publish()

    stage = late._stages[SPEC.name]
    publish = stage.publish
    monkeypatch.setattr(stage, "publish", lambda: sleep_and_publish(stage))
    with pytest.raises(StoreError, match="its commit was withdrawn"), late:
        pass
    fresh = FeatureStore.open(tmp_path / "s")
    assert fresh.missing() == ["scene0000"] and verify(fresh.backend) == []


def test_a_forked_process_is_another_holder() -> None:
    here = cache.storage.process.this_process()
    child = os.fork()
    if child == 0:
        there = cache.storage.process.this_process()
        same = there.pid != os.getpid() or there.token == here.token or there.session == here.session
        os._exit(same)
    assert os.waitpid(child, 0)[1] == 0
    assert cache.storage.process.this_process() is here and here.pid == os.getpid()


def test_thousands_of_leftovers_cost_nothing_and_are_swept(fast_path: Path) -> None:
    store = make_store(fast_path / "s", [SPEC], 3, written=[0])
    here, token = cache.storage.process.this_process(), "deadbeef"
    dead = fast_path / f"s/tmp/{here.place}-4000000-1-{token}"
    foreign = fast_path / "s/tmp/othermachine-12-34-cafe"
    for folder in (dead, foreign):
        folder.mkdir()
        for number in range(2000):
            (folder / f"{number:06d}").touch()
    (fast_path / f"s/features.zarr/{SPEC.name}/c.1.0.0.0.0").write_bytes(b"never committed")
    (fast_path / "s/leases/00000002.0000.json").write_bytes(b"")
    assert FeatureStore.open(fast_path / "s").missing() == ["scene0001", "scene0002"]
    assert verify(store.backend) == []
    make_store(fast_path / "s", [SPEC], 3, written=[])
    assert not dead.exists() and foreign.exists()  # another machine's may still be at work
    old = time.time() - 10**6
    for path in foreign.iterdir():
        os.utime(path, (old, old))
    assert len(list(unreferenced(store.backend, store.board))) == 2002
    count, freed = prune(store.backend, LeaseBoard(store.backend))
    assert (count, freed) == (2001, len(b"never committed"))
    assert not foreign.exists()
    assert FeatureStore.open(fast_path / "s").committed(SPEC.name) == ["scene0000"]


def test_prune_spares_what_is_being_written(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [SPEC], 2, written=[])
    with store.writer("scene0000") as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
        (tmp_path / f"s/features.zarr/{SPEC.name}/c.0.0.0.0.0").write_bytes(b"about to be committed")
        prune(store.backend, LeaseBoard(store.backend))
        assert (tmp_path / f"s/features.zarr/{SPEC.name}/c.0.0.0.0.0").exists()
    assert verify(store.backend) == []


def test_places(tmp_path: Path) -> None:
    one, two = {"prompt": ""}, {"prompt": "a room"}
    with pytest.raises(MissingError, match="no store at all"):
        locate_store(tmp_path, "rooms", "toy")
    paths = [store_path(tmp_path, "rooms", "toy", fingerprint) for fingerprint in (one, two)]
    assert len(paths[0].name) == 12 and paths[0].parts[-4:-1] == ("features", "rooms", "toy")
    make_store(paths[0], [SPEC], 1, fingerprint=one)
    assert locate_store(tmp_path, "rooms", "toy") == locate_store(tmp_path, None, None) == paths[0]
    make_store(paths[1], [SPEC], 1, fingerprint=two)
    assert find_stores(tmp_path, "rooms") == sorted(paths)
    with pytest.raises(StoreError, match="several feature stores fit") as caught:
        locate_store(tmp_path, "rooms", "toy")
    assert all(path.name in str(caught.value) for path in paths)
    assert locate_store(tmp_path, "rooms", "toy", paths[1].name[:5]) == paths[1]
    assert locate_store(tmp_path, None, None, str(paths[1])) == paths[1]
    with pytest.raises(MissingError, match=paths[0].name):
        locate_store(tmp_path, "rooms", "other")


def test_the_forecast_is_close_and_refuses_what_does_not_fit(
    small: Callable[..., FeatureStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    big = make_spec(rows=8, grid=(15, 26), channels=256)
    store = small(big, clips=2)
    taken = sum(path.stat().st_size for path in Path(store.where).rglob("*.*") if path.is_file())
    assert bytes_needed([big], 2) == pytest.approx(taken, rel=0.01)  # the rest is what a store begins with
    needed, free = check_free_space(store.where, [big], 2)
    assert needed == bytes_needed([big], 2) and free > needed
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, needed))
    with pytest.raises(StorageError, match="don't fit on the disk"):
        check_free_space(Path(store.where) / "not/there/yet", [big], 2)


def test_a_disk_that_returns_other_bytes_is_noticed_before_the_clip_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache.format import layout

    store = make_store(tmp_path / "store", [SPEC], 2, written=[])
    first, second = store.clips
    with store.writer(first, verify_writes=True) as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert store.committed(SPEC.name) == [first]
    publish = cache.storage.local.LocalBackend.sync

    def flip(backend: LocalBackend, folders: Any) -> None:
        publish(backend, folders)
        shard = tmp_path / "store" / layout.shard_key(SPEC.name, 1)
        if shard.is_file():
            content = bytearray(shard.read_bytes())
            content[5] ^= 1
            shard.write_bytes(content)

    monkeypatch.setattr(cache.storage.local.LocalBackend, "sync", flip)
    with (
        pytest.raises(CorruptionError, match="reads back differently"),
        store.writer(second, verify_writes=True) as writer,
    ):
        writer.put(SPEC.name, make_features(SPEC, 1))
    monkeypatch.undo()
    fresh = FeatureStore.open(tmp_path / "store")
    assert fresh.committed(SPEC.name) == [first] and fresh.missing() == [second]
    with fresh.writer(second, verify_writes=True) as writer:
        writer.put(SPEC.name, make_features(SPEC, 1))
    assert not verify(fresh.backend)


def test_a_model_without_a_store_is_told_its_untrained_twin(tmp_path: Path) -> None:
    for source in ("cogvideox-t2v-2b-tiny-random", "oracle-depth-rays", "cogvideox-t2v-2b+pixels"):
        folder = tmp_path / "features" / "rooms" / source / "0123"
        folder.mkdir(parents=True)
        (folder / "store.json").write_text("{}")
    for asked in ("cogvideox", "cogvideox-t2v-2b"):
        with pytest.raises(
            MissingError, match=r"fix: +name one that is there: cogvideox-t2v-2b-tiny-random \(untrained\)$"
        ):
            locate_store(tmp_path, "rooms", asked)
    with pytest.raises(MissingError, match=r"that is there: oracle-depth-rays$"):
        locate_store(tmp_path, "rooms", "oracle")
    with pytest.raises(MissingError, match=f"{re.escape(commands.extract('run'))} model="):
        locate_store(tmp_path, "rooms", "wan-t2v-14b")
