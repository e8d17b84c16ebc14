"""Killed at any point, a job loses nothing that was committed, redoes nothing, and ends with the same bytes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cache import FeatureStore
from cache.care.compare import compare
from cache.care.verify import verify
from tests.stores import fill_store, make_spec, make_store

REPOSITORY = Path(__file__).parents[2]
SPECS = [make_spec("one"), make_spec("two", dtype="float32", compression="zstd")]


def run_jobs(*words: object) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.cache.crash_jobs", *map(str, words)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=REPOSITORY,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def features_of(root: Path) -> dict[str, bytes]:
    """The bytes of all features and of their metadata."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in (root / "features.zarr").rglob("*") if p.is_file()}


def statistics_of(store: FeatureStore) -> list[bytes]:
    return [
        moments.mean.tobytes() + moments.m2.tobytes() + moments.absmax.tobytes()
        for name in store.arrays
        for moments in [store.moments(name, store.clips)]
    ]


def assert_same_store(store: FeatureStore, undisturbed: FeatureStore) -> None:
    assert verify(store.backend) == []
    assert store.missing() == []
    assert compare(store, undisturbed) == []
    assert features_of(Path(store.where)) == features_of(Path(undisturbed.where))
    assert statistics_of(store) == statistics_of(undisturbed)
    for name in store.arrays:
        assert store.index.shards(name) == undisturbed.index.shards(name)


def test_killed_at_every_step_of_a_commit(fast_path: Path) -> None:
    undisturbed = make_store(fast_path / "undisturbed", SPECS, 1)
    make_store(fast_path / "jobs/base", SPECS, 1, written=[])
    last = int(run_jobs("steps", fast_path / "jobs", "write", 1))
    assert last > 20  # files, flushes, renames: there are that many steps
    committed = []
    for step in range(last + 1):
        place = fast_path / f"jobs/{step:03d}"
        store = FeatureStore.open(place)
        assert verify(store.backend) == [], step
        committed.append(not store.missing())
        records = {path.name: path.stat().st_ino for path in (place / "commits").iterdir()}
        store = make_store(place, SPECS, 1, written=[])  # the next job initialises, then writes what is missing
        fill_store(store)
        assert_same_store(FeatureStore.open(place), undisturbed)
        for name, inode in records.items():
            assert (place / "commits" / name).stat().st_ino == inode, f"step {step}: redone"
        assert [path.name for path in (place / "tmp").iterdir() if str(os.getpid()) not in path.name] == []
        shutil.rmtree(place)
    # the commit appears at one step, and stays from there on
    assert committed == sorted(committed) and committed[-1] and not committed[0]


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.full)])
@pytest.mark.parametrize("what", ["create", "grow"])
def test_killed_at_every_step_of_an_initialisation(fast_path: Path, what: str, stride: int) -> None:
    specs = [make_spec("one"), make_spec("two")]
    if what == "grow":
        make_store(fast_path / "jobs/base", specs, 2)
        specs.append(make_spec("three"))
    clips = 2 if what == "create" else 4
    (fast_path / "jobs").mkdir(exist_ok=True)
    undisturbed = make_store(fast_path / "undisturbed", specs, clips)
    last = int(run_jobs("steps", fast_path / "jobs", what, stride))
    assert last > 20
    for step in range(0, last + 1, stride):
        place = fast_path / f"jobs/{step:03d}"
        if what == "grow":  # what was there stays usable, whatever happened
            store = FeatureStore.open(place)
            assert store.committed("one")[:2] == ["scene0000", "scene0001"]
            store.read([("scene0001", "two", [0])])
        store = make_store(place, specs, clips, written=[])
        fill_store(store)
        store = FeatureStore.open(place)
        assert verify(store.backend) == [], step
        assert compare(store, undisturbed) == []
        assert features_of(place) == features_of(fast_path / "undisturbed")
        shutil.rmtree(place)


def kill_writers(fast_path: Path, kills: int, clips: int, seed: int) -> None:
    specs = [make_spec("one", channels=512), make_spec("two", channels=300, dtype="float16"), make_spec("three")]
    undisturbed = make_store(fast_path / "undisturbed", specs, clips)
    make_store(fast_path / "store", specs, clips, written=[])
    told = json.loads(run_jobs("kills", fast_path / "store", kills, seed))
    assert told["died"] >= kills, "the writers were done before enough of them had died"
    assert_same_store(FeatureStore.open(fast_path / "store"), undisturbed)


def test_random_kills_of_two_writers(fast_path: Path) -> None:
    kill_writers(fast_path, kills=5, clips=60, seed=1)


@pytest.mark.full
def test_fifty_random_kills_of_two_writers(fast_path: Path) -> None:
    kill_writers(fast_path, kills=50, clips=500, seed=2)
