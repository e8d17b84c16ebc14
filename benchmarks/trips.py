"""Which of our files run for one clip, one frame, one feature row and one score on their way; see docs/architecture.md.

`python -m benchmarks.trips` prepares small rooms, extracts, trains probes of a few steps, and lists for each trip every
file of ours in which a function ran on the way: inside the functions that carry the clip, frame, row or score, on
whichever thread. What is done once per job (loading, planning, checking, importing) isn't on the way, so the first call
of each carrier doesn't count. The shared ground (configs/) is listed apart.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
import threading
from collections import Counter
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from configs import cli

ROOT = Path(__file__).parents[1]
SHARED = "configs"


class Trip(NamedTuple):
    """One trip.

    Attributes:
        title: what travels, and between which ends.
        command: the command in which it happens, without the artifact root.
        carriers: the functions that carry it, by file and name.
    """

    title: str
    command: tuple[str, ...]
    carriers: tuple[tuple[str, str], ...]


DATASET = "rooms-nano"
TINY = ("weights=random", "size=tiny", f"dataset={DATASET}", "limit=2", "workers=1")
ORACLE = ("model=oracle", f"dataset={DATASET}")
PROBE = (*ORACLE, "profile=debug")
CLIP = (("data/prepare/prepare.py", "make_clip"),)
FRAME = (
    ("extract/job/forward.py", "prepare"),
    ("extract/job/forward.py", "Device.run"),
    ("extract/job/runner.py", "Runner._write"),
)
ROW = (("cache/loading/feature_loader.py", "FeatureLoader._load"), ("probe/train/loop.py", "Learner.step"))
SCORE = (("probe/train/evaluate.py", "evaluate_members"), ("probe/results/write.py", "write_all"))
ONCE = {SCORE[1]}
"""Carriers that are called once per run."""
TRIPS = (
    Trip("a clip of the rooms", ("data", "prepare", "kind=rooms", "preset=nano", "clips=8", "workers=1"), CLIP),
    Trip("a frame through a video model", ("extract", "run", "model=wan-t2v-1.3b", *TINY), FRAME),
    Trip("a frame through a vision-language model", ("extract", "run", "model=qwen3-vl-2b", *TINY), FRAME),
    Trip("a frame turned into the oracle", ("extract", "run", *ORACLE, "workers=1"), FRAME),
    Trip("a feature row to a step of tagging", ("probe", "train", "task=tagging", *PROBE, "seeds=0"), ROW),
    Trip("a feature row to a step of instance grouping", ("probe", "train", "task=instance", *PROBE, "seeds=0"), ROW),
    Trip("a feature row to a step of geometry", ("probe", "train", "task=geometry", *PROBE, "seeds=0"), ROW),
    Trip("a score of tagging", ("probe", "train", "task=tagging", *PROBE, "seeds=1"), SCORE),
    Trip("a score of instance grouping", ("probe", "train", "task=instance", *PROBE, "seeds=1"), SCORE),
    Trip("a score of geometry", ("probe", "train", "task=geometry", *PROBE, "seeds=1"), SCORE),
)
"""In the order in which they need each other."""


class Recorder:
    """Notes our files in which functions run inside a carrier."""

    def __init__(self, trip: Trip) -> None:
        self.files: set[str] = set()
        self._carriers = set(trip.carriers)
        self._calls: Counter[tuple[str, str]] = Counter()
        self._depth = threading.local()
        self._ours: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Profile function of `sys.setprofile`."""
        if event not in ("call", "return"):
            return
        code = frame.f_code
        if code.co_filename not in self._ours:
            self._ours[code.co_filename] = _ours(code.co_filename)
        file = self._ours[code.co_filename]
        if file is None:
            return
        depth: int = getattr(self._depth, "value", 0)
        carrier = (file, code.co_qualname)
        if carrier in self._carriers:
            if event == "return":
                self._depth.value = max(depth - 1, 0)
            else:
                self._calls[carrier] += 1
                depth += depth > 0 or self._calls[carrier] > 1 or carrier in ONCE
                self._depth.value = depth
        if depth and event == "call" and code.co_name != "<module>":
            self.files.add(file)


def _ours(filename: str) -> str | None:
    path = Path(filename)
    if not path.is_relative_to(ROOT) or not path.exists():  # the second: code that dataclasses make
        return None
    part = path.relative_to(ROOT)
    return None if part.parts[0] in ("benchmarks", "tests", ".venv") else part.as_posix()


def record(trip: Trip, root: Path) -> list[str]:
    """Run a trip's command below an artifact root and return the files of ours that ran on the way, sorted."""
    recorder = Recorder(trip)
    stage, *words = trip.command
    verbs: Any = import_module(f"{stage}.__main__").VERBS
    sys.setprofile(recorder)
    threading.setprofile(recorder)
    try:
        code = cli.main(stage, "", verbs, [*words, f"root={root}"])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if code or not recorder.files:
        raise SystemExit(f"`{' '.join(trip.command)}` ended with {code} and {len(recorder.files)} files on its way")
    return sorted(recorder.files)


def main() -> int:
    """Print the files of every trip as Markdown."""
    shared: set[str] = set()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        results = [(trip, record(trip, Path(folder))) for trip in TRIPS]
    for trip, files in results:
        own = [file for file in files if not file.startswith(f"{SHARED}/")]
        shared |= set(files) - set(own)
        print(f"- **{trip.title}**: {len(own)} files\n  {', '.join(f'`{file}`' for file in own)}")
    print(f"- shared ground, not counted: {', '.join(f'`{file}`' for file in sorted(shared))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
