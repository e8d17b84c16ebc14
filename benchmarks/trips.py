"""Which of our files run for one clip, one frame, one feature row and one score on their way; see docs/architecture.md.

`python -m benchmarks.trips` prepares small rooms, extracts, trains probes of a few steps, and lists for each trip every
file of ours in which a function ran on the way, on whichever thread:

- A trip happens inside its carriers, the functions that carry a clip, frame, row or score. Where one carrier calls
  another (a row needs its shard opened, a step needs the network), what runs counts for the inner one's trip only, so
  that every trip is one thing and nothing is left out.
- What is done once per job (loading, planning, checking, importing) isn't on the way: the first call of each carrier
  doesn't count, unless it is called once per run.
- The shared ground (configs/) is listed apart.
"""

from __future__ import annotations

import contextlib
import gc
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
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
        carriers: the functions that carry it, as `<file>:<qualified name>`.
        once: whether a carrier is called once per run, so that its first call counts.
    """

    title: str
    carriers: tuple[str, ...]
    once: bool = False


class Journey(NamedTuple):
    """A command, without the artifact root, and the trips that happen in it; one may happen in several commands."""

    command: tuple[str, ...]
    trips: tuple[Trip, ...]


def _extract(title: str, *words: str, more: tuple[Trip, ...] = ()) -> Journey:
    return Journey(("extract", "run", f"dataset={DATASET}", "workers=1", *words), (Trip(title, FRAME), *more))


def _train(task: str, noun: str) -> Journey:
    words = ("probe", "train", f"task={task}", "model=oracle", f"dataset={DATASET}", "profile=debug", "seeds=0")
    trips = (
        Trip("the clips of a round to the rows to read", PLAN),
        Trip("a shard opened for reading", OPENING),
        Trip(f"a feature row to a step of {noun}", ROW),
        Trip(f"the ground truth of a sample to the targets of {noun}", TARGETS),
        Trip(f"a batch through the network of {noun}", NETWORK),
        Trip(f"predictions of {noun} to a score", SCORE),
        Trip(f"predictions of {noun} to pictures", PICTURES, once=True),
        Trip(f"a score of {noun} to the results of its run", RESULTS, once=True),
    )
    return Journey(words, trips)


DATASET = "rooms-nano"
TINY = ("weights=random", "size=tiny", "limit=2")
CLIP = ("data/prepare/prepare.py:make_clip",)
FRAME = ("extract/job/forward.py:prepare", "extract/job/forward.py:Device.run", "cache/clip_writer.py:ClipWriter.put")
COMMIT = ("cache/clip_writer.py:ClipWriter._commit",)
PLAN = ("cache/loading/feature_loader.py:FeatureLoader.__iter__",)
OPENING = ("cache/shard_reader.py:StoreReader._open",)
ROW = (
    "cache/loading/feature_loader.py:FeatureLoader._load",
    "cache/loading/feature_loader.py:_Feed.next",
    "probe/train/loop.py:Learner.step",
)
TARGETS = ("probe/inputs/batches.py:attached",)
NETWORK = ("probe/module.py:ProbeModule.forward",)
SCORE = ("probe/train/evaluate.py:evaluate_members",)
PICTURES = ("probe/results/write.py:draw",)
RESULTS = ("probe/results/write.py:write_all",)
JOURNEYS = (
    Journey(
        ("data", "prepare", "kind=rooms", "preset=nano", "clips=8", "workers=1"), (Trip("a clip of the rooms", CLIP),)
    ),
    _extract("a frame through a video model into its shard", "model=wan-t2v-1.3b", *TINY),
    _extract("a frame through a vision-language model into its shard", "model=qwen3-vl-2b", *TINY),
    _extract(
        "a frame turned into the oracle, into its shard", "model=oracle", more=(Trip("a clip's shards commit", COMMIT),)
    ),
    _train("tagging", "tagging"),
    _train("instance", "instance grouping"),
    _train("geometry", "geometry"),
)
"""In the order in which they need each other."""


class Recorder:
    """Notes for each trip our files in which functions run inside its carriers.

    Args:
        trips: those to record.
        root: the folder that holds our files.

    Attributes:
        files: by title of the trip.
    """

    def __init__(self, trips: Sequence[Trip], root: Path = ROOT) -> None:
        self.files: dict[str, set[str]] = {trip.title: set() for trip in trips}
        self._carriers = {carrier: trip for trip in trips for carrier in trip.carriers}
        self._root = root
        self._calls: Counter[str] = Counter()
        self._inside = threading.local()  # the carriers that this thread is in, outermost first
        self._ours: dict[str, str | None] = {}

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        """Profile function of `sys.setprofile`."""
        if event not in ("call", "return"):
            return
        code = frame.f_code
        if code.co_filename not in self._ours:
            self._ours[code.co_filename] = _ours(code.co_filename, self._root)
        file = self._ours[code.co_filename]
        if file is None:
            return
        inside: list[tuple[FrameType, set[str] | None]] = self._inside.__dict__.setdefault("stack", [])
        if event == "return":
            if inside and inside[-1][0] is frame:
                inside.pop()
            return
        trip = self._carriers.get(f"{file}:{code.co_qualname}")
        if trip is not None:
            self._calls[f"{file}:{code.co_qualname}"] += 1
            counts = trip.once or self._calls[f"{file}:{code.co_qualname}"] > 1
            inside.append((frame, self.files[trip.title] if counts else None))
        if inside and inside[-1][1] is not None and code.co_name != "<module>":
            inside[-1][1].add(file)


def _ours(filename: str, root: Path) -> str | None:
    path = Path(filename)
    if not path.is_relative_to(root) or not path.exists():  # the second: code that dataclasses make
        return None
    part = path.relative_to(root)
    return None if part.parts[0] in ("benchmarks", "tests", ".venv") else part.as_posix()


def record(journey: Journey, root: Path) -> dict[str, set[str]]:
    """Run a command below an artifact root and return for each of its trips the files of ours on the way."""
    recorder = Recorder(journey.trips)
    stage, *words = journey.command
    verbs: Any = import_module(f"{stage}.__main__").VERBS
    gc.collect()
    gc.disable()  # what it frees, and so which functions that end things run, would depend on chance
    sys.setprofile(recorder)
    threading.setprofile(recorder)
    try:
        code = cli.main(stage, "", verbs, [*words, f"root={root}"])
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
        gc.enable()
    empty = [title for title, files in recorder.files.items() if not files]
    if code or empty:
        raise SystemExit(f"`{' '.join(journey.command)}` ended with {code}; no file was on the way of {empty}")
    return recorder.files


def listing(trips: Mapping[str, Iterable[str]]) -> str:
    """Return the files of every trip as Markdown."""
    lines, shared = [], set[str]()
    for title, files in trips.items():
        own = [file for file in sorted(files) if not file.startswith(f"{SHARED}/")]
        shared |= set(files) - set(own)
        lines.append(f"- **{title}**: {len(own)} files\n  {_names(own)}")
    return "\n".join([*lines, f"- shared ground, not counted: {_names(sorted(shared))}"]) + "\n"


def _names(files: Sequence[str]) -> str:
    return ", ".join(f"`{file}`" for file in files)


def main() -> int:
    """Print the files of every trip as Markdown."""
    trips: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        for journey in JOURNEYS:
            for title, files in record(journey, Path(folder)).items():
                trips.setdefault(title, set()).update(files)
    print(listing(trips), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
