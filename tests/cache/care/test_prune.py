"""What nothing refers to any more is removed, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

from cache import FeatureStore
from cache.care.prune import prune, unreferenced
from cache.care.verify import verify
from cache.lease import LeaseBoard
from cache.storage.process import this_process
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
