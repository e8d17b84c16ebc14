"""Jobs that share a store: each clip by one of them, silent and foreign leases, wrong clocks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cache import FeatureStore
from cache.care.verify import verify
from cache.lease import LeaseBoard
from cache.storage import local
from cache.storage.local import LocalBackend
from configs.errors import MissingError, StaleError, StoreError
from tests.cache.storage.memory import MemoryBackend
from tests.stores import FINGERPRINT, fill_store, make_features, make_spec, make_store

SPEC = make_spec()


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


def test_a_silent_lease_of_another_machine_runs_out() -> None:
    now = 0.0
    backend = MemoryBackend()
    store = make_store(backend, [SPEC], 1, written=[])
    foreign = b'{"holder": {"host": "far", "place": "other", "pid": 7, "started": 1, "token": "x"}, "beat": %d}'
    backend.replace("leases/00000000.0000.json", foreign % 0)
    board = LeaseBoard(backend, clock=lambda: now)
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
        pytest.raises(StoreError, match="lease on clip scene0000 ran out"),
        store.writer("scene0000", lease) as writer,
    ):
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert store.missing() == ["scene0000"]


def test_two_store_objects_begin_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find that the folder of this process's temporary files is missing, and both count from zero."""
    (tmp_path / "tmp").mkdir()
    first, second = LocalBackend(tmp_path), LocalBackend(tmp_path)
    make = local.make_folder

    def overtaken(path: str) -> None:
        monkeypatch.setattr(local, "make_folder", make)
        second.replace("b", b"second")  # its temporary file is published, and another one is begun
        stages.append(second.stage("c"))
        stages.append(LocalBackend(tmp_path).stage("d"))

    stages: list[local._LocalStage] = []
    monkeypatch.setattr(local, "make_folder", overtaken)
    first.replace("a", b"first")
    assert (first.read("a"), first.read("b")) == (b"first", b"second")
    for stage in stages:
        stage.discard()


def test_a_lease_given_anew_under_an_old_number_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process releases the name and takes it again while this one is between looking and taking."""
    backend = MemoryBackend()
    theirs, ours = LeaseBoard(backend), LeaseBoard(backend)
    held = theirs.take("init")
    assert held is not None
    again = []
    read, create = backend.read, backend.create

    def released(key: str) -> bytes:
        monkeypatch.setattr(backend, "read", read)
        held.release()
        raise MissingError("no such object")

    def retaken(key: str, data: bytes, *, durable: bool = False) -> bool:
        monkeypatch.setattr(backend, "create", create)
        again.append(theirs.take("init"))
        return create(key, data)

    monkeypatch.setattr(backend, "read", released)
    monkeypatch.setattr(backend, "create", retaken)
    assert ours.take("init") is None
    assert again[0] is not None and backend.names("leases") == [again[0].key.removeprefix("leases/")]


def test_a_heartbeat_does_not_outlive_its_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lease is released, and another process takes the name, while the heartbeat is being written."""
    backend = MemoryBackend()
    ours, theirs = LeaseBoard(backend), LeaseBoard(backend)
    lease = ours.take("init")
    assert lease is not None
    replace, taken = backend.replace, []

    def swap() -> None:
        lease.release()
        taken.append(theirs.take("init"))

    swapping = threading.Thread(target=swap)

    def slow(key: str, data: bytes, *, durable: bool = False) -> None:
        monkeypatch.setattr(backend, "replace", replace)
        swapping.start()
        swapping.join(0.2)
        replace(key, data)

    monkeypatch.setattr(backend, "replace", slow)
    ours.beat(lease)
    swapping.join()
    assert taken[0] is not None and backend.names("leases") == ["init.0000.json"]
