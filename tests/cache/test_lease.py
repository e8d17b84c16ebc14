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
from cache.storage.local import LocalBackend
from configs.errors import StaleError, StoreError
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
        pytest.raises(StoreError, match="lease on clip scene0000 has run out"),
        store.writer("scene0000", lease) as writer,
    ):
        writer.put(SPEC.name, make_features(SPEC, 0))
    assert store.missing() == ["scene0000"]
