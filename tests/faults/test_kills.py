"""Commands killed at random moments: the same command completes, and everything equals what an undisturbed one made."""

from __future__ import annotations

import hashlib
import multiprocessing
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cache.locate import locate_store
from cache.store import FeatureStore
from configs.cli import main
from probe.results.survey import survey
from tests.probe.networks import TINY

Command = tuple[str, ...]
ROOMS = ("kind=rooms", "clips=12", "height=48", "width=48", "render=query", "workers=1", "dataset=r")
PREPARE: Command = ("data", "prepare", *ROOMS)
EXTRACT: Command = ("extract", "run", "model=pixels", "dataset=r", "grid=4x4", "workers=1", "threads=1")
SMALL = ("head.width=16", "profile=debug", *(f"{key}={value}" for key, value in TINY.items()))
SWEEP: Command = (
    "probe", "sweep", "task=tagging", "model=pixels", "dataset=r", "depths=linear,0,1", "seeds=0,1", "workers=1",
    *SMALL,
)  # fmt: skip
OWN = {"status.parquet", "checked.txt"}
"""Files that tell of a job, not of what it made."""


def typed(root: Path, words: Command) -> int:
    """Run a command as it is typed."""
    stage, *rest = words
    return main(stage, "", import_module(f"{stage}.__main__").VERBS, [*rest, f"root={root}"])


def job(root: Path, words: Command) -> None:
    """Target of a process."""
    sys.exit(typed(root, words))


class Killer:
    """Starts jobs and kills them, at moments spread over the time that an undisturbed one takes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["tests.faults.test_kills", "torch", "zarr", "pandas", "lightning"])
        self.killed = 0

    def start(self, root: Path, words: Command) -> Any:
        process = self.context.Process(target=job, args=(root, words))
        process.start()
        return process

    def undisturbed(self, root: Path, words: Command) -> float:
        """Run a job to its end; return its seconds."""
        begun = time.perf_counter()
        process = self.start(root, words)
        process.join(300)
        assert process.exitcode == 0
        return time.perf_counter() - begun

    def kill(
        self, root: Path, words: Command, times: int, seconds: float, at_once: int, again: Callable[[], None]
    ) -> None:
        """Kill jobs until `times` of them died at work; whenever all got through, start anew with `again`."""
        goal = self.killed + times
        while self.killed < goal:
            processes = [self.start(root, words) for _ in range(at_once)]
            for process in processes:
                process.join(self.chance.uniform(0.0, 1.1 * seconds / at_once))
                process.kill()
            for process in processes:
                process.join()
                assert process.exitcode in (0, -signal.SIGKILL)
            dead = sum(process.exitcode != 0 for process in processes)
            self.killed += dead
            if not dead:
                again()


def files(folder: Path) -> dict[str, str]:
    """Digest of every file that tells what a job made."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name not in OWN
    }


def features(root: Path) -> dict[str, Any]:
    """Values, checksums and statistics of the store."""
    store = FeatureStore.open(locate_store(root, "r", "pixels"))
    (name,) = store.arrays
    rows = range(store.arrays[name].rows)
    moments = [part.tobytes() for part in store.statistics(name, store.clips)[1:]]
    return {clip: store.read([(clip, name, rows)])[0].numpy().tobytes() for clip in store.clips} | {"moments": moments}


def scores(root: Path) -> dict[str, Any]:
    """Scores of every run, and digests of its weights."""
    there = survey(str(root))
    assert not there.left_out
    return {result["run_id"]: (result["report"], result["select"]) for result in there.whole}


def remove(folder: Path, names: Sequence[str]) -> Callable[[], None]:
    """Return what empties some folders, by moving them away: nothing waits for what was in them."""

    def move() -> None:
        for name in names:
            if (folder / name).exists():
                (folder / name).rename(folder / f"old-{name}-{time.monotonic_ns()}")

    return move


def try_kills(place: Path, times: int) -> int:
    """Kill each of the commands `times` times, two extractions at once; return how many died."""
    killer = Killer(seed=times)
    whole, broken = place / "whole", place / "broken"
    stages: list[tuple[Command, int, tuple[str, ...], Callable[[Path], Any]]] = [
        (PREPARE, 1, ("datasets",), lambda root: files(root / "datasets" / "r")),
        (EXTRACT, 2, ("features",), features),
        (SWEEP, 1, ("runs", "results"), scores),
    ]
    for words, at_once, made, look in stages:
        seconds = killer.undisturbed(whole, words)
        killer.kill(broken, words, times, seconds, at_once, remove(broken, made))
        assert typed(broken, words) == 0, words
        assert look(broken) == look(whole), words
        assert not [path for path in broken.rglob("*") if ".tmp" in path.name and "old-" not in str(path)]
    assert typed(broken, ("cache", "verify", "dataset=r")) == typed(broken, ("data", "verify", "dataset=r")) == 0
    return killer.killed


def test_killed_commands_complete(tmp_path: Path) -> None:
    assert try_kills(tmp_path, 2) >= 6


@pytest.mark.full
def test_forty_killed_commands_complete(tmp_path: Path) -> None:
    assert try_kills(tmp_path, 14) >= 40
