"""Run by test_crashes.py in a process of its own, without threads, so that it may fork: jobs that die.

`steps <folder> <what> <stride>` copies `<folder>/base` to `<folder>/000`, `001`, ... and lets a child process die at
the first, second, ... call that changes anything on the disk, until one gets through. `kills <store> <count> <seed>`
kills two writers of one store at random moments until `count` have died.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet  # noqa: F401  # everything that a child needs is imported before the first fork
import safetensors.numpy  # noqa: F401
import torch  # noqa: F401

import cache.clip_writer
import cache.format.shard
import cache.shard_reader
import cache.storage.local
from cache import FeatureStore
from tests.stores import fill_store, make_spec, make_store

CHANGING = {"open", "write", "fdatasync", "fsync", "replace", "link", "unlink", "mkdir"}


class DyingOs:
    """The os module, but the process dies before the n-th call that changes something."""

    def __init__(self, step: int) -> None:
        self.left = step

    def __getattr__(self, name: str) -> Any:
        function = getattr(os, name)
        if name not in CHANGING:
            return function

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            self.left -= 1
            return function(*args, **kwargs)

        return call


def do(what: str, place: Path) -> None:
    if what == "write":
        fill_store(FeatureStore.open(place))
    elif what == "create":
        make_store(place, [make_spec("one"), make_spec("two")], 2, written=[])
    elif what == "grow":
        make_store(place, [make_spec("one"), make_spec("two"), make_spec("three")], 4, written=[])


def steps(folder: Path, what: str, stride: int) -> None:
    for step in itertools.count(0, stride):
        place = folder / f"{step:03d}"
        if (folder / "base").exists():
            shutil.copytree(folder / "base", place)
        child = os.fork()
        if child == 0:
            cache.storage.local.os = DyingOs(step)  # type: ignore[assignment, attr-defined]
            do(what, place)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            print(step)
            return


def start(place: Path) -> int:
    child = os.fork()
    if child == 0:
        fill_store(FeatureStore.open(place))
        os._exit(0)
    return child


def kills(place: Path, count: int, seed: int) -> None:
    rng = random.Random(seed)
    children = [start(place), start(place)]
    died = in_the_middle = 0
    seen: dict[str, str] = {}
    while died < count:
        time.sleep(rng.random() * 0.05)
        victims = [0, 1] if rng.random() < 0.3 else [rng.randrange(2)]
        for index in victims:
            os.kill(children[index], signal.SIGKILL)
            status = os.waitpid(children[index], 0)[1]
            died += status == signal.SIGKILL
        in_the_middle += any((place / "tmp").glob("*/*")) or any((place / "leases").iterdir())
        for record in (place / "commits").iterdir():
            facts = f"{record.stat().st_ino} {record.stat().st_mtime_ns}"
            assert seen.setdefault(record.name, facts) == facts, f"{record.name} was redone"
        if len(seen) == len(FeatureStore.open(place).clips):
            break
        for index in victims:
            children[index] = start(place)
    for child in children:
        try:
            os.waitpid(child, 0)
        except ChildProcessError:
            continue
    fill_store(FeatureStore.open(place))
    for record in (place / "commits").iterdir():
        facts = f"{record.stat().st_ino} {record.stat().st_mtime_ns}"
        assert seen.setdefault(record.name, facts) == facts, f"{record.name} was redone"
    print(json.dumps({"died": died, "in_the_middle": in_the_middle}))


if __name__ == "__main__":
    mode, path, *rest = sys.argv[1:]
    if mode == "steps":
        steps(Path(path), rest[0], int(rest[1]))
    else:
        kills(Path(path), int(rest[0]), int(rest[1]))
