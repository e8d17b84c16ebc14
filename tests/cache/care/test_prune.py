"""What nothing refers to any more is removed, and nothing else."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from cache import FeatureStore, store_path
from cache.care.prune import discard, prune, unreferenced
from cache.care.verify import verify
from cache.lease import LeaseBoard
from cache.printing import list_stores, prune_located
from cache.storage.process import this_process
from configs.errors import CorruptionError, StoreError
from tests.stores import make_features, make_spec, make_store

SPEC = make_spec()


def test_thousands_of_leftovers_cost_nothing_and_are_swept(fast_path: Path) -> None:
    store = make_store(fast_path / "s", [SPEC], 3, written=[0])
    here, token = this_process(), "deadbeef"
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


FOREIGN = b'{"holder": {"host": "far", "place": "other", "pid": 7, "started": 1, "token": "x"}, "beat": 0}'


def test_empty_stores_are_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty, full = ({"prompt": text} for text in ("", "a room"))
    blank = store_path(tmp_path, "rooms", "toy", empty)
    store = make_store(blank, [SPEC], 2, fingerprint=empty, written=[])
    store.quarantine("scene0001", "the frame is torn")
    kept = make_store(store_path(tmp_path, "rooms", "toy", full), [SPEC], 2, fingerprint=full)
    before = {path: path.read_bytes() for path in Path(kept.where).rglob("*") if path.is_file()}
    assert list_stores(str(tmp_path), None, None) == 0
    assert "empty" in capsys.readouterr().out
    assert prune_located(str(tmp_path), None, None, None, [], apply=False) == 0
    assert "would remove the whole store: it holds no features" in capsys.readouterr().out and blank.is_dir()
    assert prune_located(str(tmp_path), None, None, None, [], apply=True) == 0
    assert not blank.exists()
    assert {path: path.read_bytes() for path in Path(kept.where).rglob("*") if path.is_file()} == before
    assert verify(kept.backend) == []


def test_an_empty_store_that_a_job_works_on_stays(tmp_path: Path) -> None:
    store = make_store(tmp_path / "s", [SPEC], 2, written=[])
    lease = store.claim("scene0000")
    assert lease is not None
    with pytest.raises(StoreError, match="a job is writing"):
        discard(store.backend, LeaseBoard(store.backend))
    with store.writer("scene0000", lease) as writer:
        writer.put(SPEC.name, make_features(SPEC, 0))
    with pytest.raises(StoreError, match="holds features"):
        discard(store.backend, LeaseBoard(store.backend))
    assert verify(store.backend) == []


def test_one_broken_store_does_not_keep_others_from_being_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = ({"prompt": text} for text in ("", "a room"))
    broken = make_store(store_path(tmp_path, "a", "toy", one), [SPEC], 1, fingerprint=one)
    other = make_store(store_path(tmp_path, "b", "toy", two), [SPEC], 2, fingerprint=two, written=[0])
    (Path(broken.where) / "store.json").write_text("{")
    leftover = Path(other.where) / f"features.zarr/{SPEC.name}/c.1.0.0.0.0"
    leftover.write_bytes(b"never committed")
    assert prune_located(str(tmp_path), None, None, None, [], apply=True) == 1
    assert not leftover.exists() and "not a readable record" in capsys.readouterr().out
    with pytest.raises(CorruptionError):
        prune_located(str(tmp_path), "a", None, None, [], apply=True)


def test_dead_leases_are_shown_and_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a process of this machine that is gone, and of another machine that has been silent for half an hour."""
    path = store_path(tmp_path, "rooms", "toy", {})
    store = make_store(path, [SPEC], 5, fingerprint={}, written=[0])
    lease = store.claim("scene0004")
    assert lease is not None
    gone = {"host": "here", "place": this_process().place, "pid": 4000000, "started": 1, "token": "x"}
    (path / "leases/00000001.0000.json").write_text(json.dumps({"holder": gone, "beat": 0}))
    for clip in (2, 3):
        (path / f"leases/{clip:08d}.0000.json").write_bytes(FOREIGN)
    (path / f"features.zarr/{SPEC.name}/c.2.0.0.0.0").write_bytes(b"never committed")
    os.utime(path / "leases/00000002.0000.json", (time.time() - 1800,) * 2)
    assert list_stores(str(tmp_path), None, None) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "dead lease of process 4000000 on here" in told
    assert "lease of process 7 on far, silent for 30 min" in told
    assert f"lease of process {os.getpid()} on" in told
    keys = sorted(unreferenced(store.backend, LeaseBoard(store.backend)))
    leftover = f"features.zarr/{SPEC.name}/c.2.0.0.0.0"
    assert keys == [leftover, "leases/00000001.0000.json", "leases/00000002.0000.json"]
    assert prune(store.backend, LeaseBoard(store.backend))[0] == 3
    assert sorted(file.name for file in (path / "leases").iterdir()) == ["00000003.0000.json", "00000004.0000.json"]
    lease.release()
