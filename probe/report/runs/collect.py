"""The finished runs that a report is made from, read from their files; what can't be read is a gap, not an end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import MissingError, SpatialprobeError
from configs.files import results_path, runs_path
from configs.identity import digest
from probe.results import results
from probe.results.stale import staleness
from probe.task import load_task

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        result: its results file.
        identity: what its run folder says of its identity; empty if the folder is gone.
        folder: its run folder.
    """

    result: Mapping[str, Any]
    identity: Mapping[str, Any]
    folder: Path

    @property
    def run_id(self) -> str:
        """Sixteen digits."""
        return str(self.result["run_id"])

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.result["task"])

    @property
    def source(self) -> str:
        """Name of the feature source."""
        return str(self.result["source"])

    @property
    def store(self) -> str:
        """First 12 digits of the store's fingerprint."""
        return str(self.result["store"])[:12]

    @property
    def array(self) -> str:
        """Name of the stored array."""
        return str(self.result["array"])

    @property
    def seed(self) -> int:
        """Seed of weights and dropout."""
        return int(self.result["seed"])

    @property
    def config_digest(self) -> str:
        """First 16 digits of the digest of the resolved configuration."""
        return digest(self.result["config"])[:16]

    @cached_property
    def clips(self) -> pd.DataFrame | None:
        """`clips.parquet`: split, clip_id, group_id, metric, value; None if it is missing or damaged."""
        return _parquet(self.folder / "clips.parquet", ["split", "clip_id", "group_id", "metric", "value"])

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """Split, clip_id and what the task's `resampled.py` reads; None if it has none, or they are gone or damaged."""
        resampled = load_task(self.task).part("resampled")
        if resampled is None:
            return None
        return _parquet(self.folder / "predictions.parquet", ["split", "clip_id", *resampled.COLUMNS])


def _parquet(path: Path, columns: list[str]) -> pd.DataFrame | None:
    import pandas as pd
    import pyarrow as pa

    if not path.is_file():
        return None
    try:
        return pd.read_parquet(path, columns=columns)
    except (OSError, ValueError, pa.ArrowException):
        return None


@dataclass(frozen=True)
class Collected:
    """Runs, and what is wrong with others.

    Attributes:
        runs: in the order of task, source, array, depth, seed.
        gaps: one sentence per problem, with the command that helps.
        stale: runs that are not among `runs` because their dataset has changed since, with what has changed.
    """

    runs: list[Run]
    gaps: list[str] = field(default_factory=list)
    stale: list[tuple[Run, str]] = field(default_factory=list)


def collect(root: str | None, dataset: str | None = None, profile: str | None = None) -> Collected:
    """Read all finished runs, and write `results.parquet` again if it is missing or lacks some.

    Args:
        root: artifact root.
        dataset: only runs on this dataset.
        profile: only runs of this profile.

    Raises:
        MissingError: there are runs, but none of this dataset and profile.
    """
    runs, gaps = [], []
    known: set[str] = set()
    paths = sorted(results_path(root).glob("*.json"))
    for path in paths:
        try:
            result = results.read(path)
            missing = [key for key in _NEEDED if key not in result]
            if missing:
                raise ValueError(f"no {', '.join(missing)}")
        except (SpatialprobeError, ValueError) as error:
            problem = getattr(error, "problem", str(error))
            gaps.append(f"{path} is left out: {problem}. Delete it and repeat the run.")
            continue
        known |= {f"dataset={result['dataset']} profile={result['profile']}"}
        if dataset not in (None, result["dataset"]) or profile not in (None, result["profile"]):
            continue
        folder = runs_path(root) / path.stem
        identity = _identity(folder / "run.json")
        if not identity:
            gaps.append(
                f"Run {path.stem} ({result['task']} on {result['source']}) has no readable run.json, so its clips and "
                "views can't be checked against those of other runs; it is kept apart."
            )
        runs.append(Run(result, identity, folder))
    if known and not runs:
        raise MissingError(
            "no finished run fits",
            expected=" ".join(f"{k}={v}" for k, v in (("dataset", dataset), ("profile", profile)) if v is not None),
            found="; ".join(sorted(known)),
            where=results_path(root),
            fix="choose one of these, or leave dataset= and profile= out",
        )
    if not gaps:
        rebuild(root, len(paths))
    runs.sort(key=lambda run: (run.task, run.source, run.array, str(run.result["depth"]), run.seed, run.run_id))
    compared = staleness(root, [run.result for run in runs])
    gaps += [
        f"Dataset {name} can't be compared with what its results were computed from: {why}."
        for name, why in compared.unchecked.items()
    ]
    stale = [(run, compared.stale[run.run_id]) for run in runs if run.run_id in compared.stale]
    return Collected([run for run in runs if run.run_id not in compared.stale], gaps, stale)


_NEEDED = (
    "task", "source", "dataset", "store", "array", "seed", "depth", "control", "select", "report", "config", "plan",
    "variant", "profile", "split_scheme", "fraction",
    "inputs", "made_from",
)  # fmt: skip


def rebuild(root: str | None, count: int) -> bool:
    """Write `results.parquet` again from the results files if it doesn't hold as many runs; return whether it did."""
    import pandas as pd

    path = results_path(root) / results.PARQUET
    if not count:
        return False
    try:
        if path.is_file() and len(pd.read_parquet(path, columns=["run_id"])) == count:
            return False
    except (OSError, ValueError):
        pass
    return results.compact(root) is not None


def _identity(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}
