"""The finished runs that a report is made from, read from their files; what can't be read is a gap, not an end."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from configs.errors import MissingError, NonFiniteError, SpatialprobeError
from configs.files import results_path, runs_path, sha256_bytes
from configs.identity import digest
from probe.results import results
from probe.results.repeat import train_command
from probe.results.stale import staleness
from probe.results.survey import changed, survey, tabulate
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
        """`clips.parquet`: split, clip_id, group_id, metric, value; None if it is missing.

        Raises:
            CorruptionError: it is not the file that the run wrote.
            NonFiniteError: a value is infinite.
        """
        rows = self._parquet(results.CLIPS, ["split", "clip_id", "group_id", "metric", "value"])
        if rows is not None:
            values = rows["value"].to_numpy(np.float64)
            for i in np.flatnonzero(np.isinf(values))[:1]:
                self._refuse(results.CLIPS, rows, i, f"{rows['metric'].iloc[i]} {values[i]:g}")
        return rows

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """Split, clip_id and what the task's `jackknife.py` reads; None if it has none, or they are gone.

        Raises:
            CorruptionError, NonFiniteError: as for `clips`; here NaN is refused too.
        """
        jackknife = load_task(self.task).part("jackknife")
        if jackknife is None:
            return None
        rows = self._parquet(results.PREDICTIONS, ["split", "clip_id", *jackknife.COLUMNS])
        if rows is None:
            return None
        for name in jackknife.COLUMNS:
            for i, values in enumerate(rows[name]):
                if not np.isfinite(np.asarray(values, np.float64)).all():
                    self._refuse(results.PREDICTIONS, rows, i, f"{name} that are not finite")
        return rows

    def _refuse(self, file: str, rows: pd.DataFrame, place: int, found: str) -> NoReturn:
        raise NonFiniteError(
            f"run {self.run_id} has a score that is not finite",
            found=f"clip {rows['clip_id'].iloc[place]}: {found}",
            where=self.folder / file,
            fix=f"{train_command(self.result, force='true')} trains it again",
        )

    def _parquet(self, name: str, columns: list[str]) -> pd.DataFrame | None:
        """Return columns of a table once its bytes have turned out to be those that the run wrote."""
        import pandas as pd
        import pyarrow as pa

        path = self.folder / name
        if not path.is_file():
            return None
        data = path.read_bytes()
        if sha256_bytes(data) != self.result["files"].get(name):
            raise changed(str(self.folder.parents[1]), self.result, [name])
        try:
            return pd.read_parquet(io.BytesIO(data), columns=columns)
        except (OSError, ValueError, pa.ArrowException):  # of a task that has changed since
            return None


@dataclass(frozen=True)
class Collected:
    """Runs, and what is wrong with others.

    Attributes:
        runs: in the order of task, source, array, depth, seed.
        gaps: one sentence per problem, with the command that helps.
        left_out: id of a run that is not among `runs` -> what is wrong with it.
        stale: runs that are not among `runs` because their dataset has changed since, with what has changed.
    """

    runs: list[Run]
    gaps: list[str] = field(default_factory=list)
    left_out: Mapping[str, str] = field(default_factory=dict)
    stale: list[tuple[Run, str]] = field(default_factory=list)


def collect(root: str | None, dataset: str | None = None, profile: str | None = None) -> Collected:
    """Read all finished runs, and write `results.parquet` again unless it is their table.

    Args:
        root: artifact root.
        dataset: only runs on this dataset.
        profile: only runs of this profile.

    Raises:
        MissingError: there are runs, but none of this dataset and profile.
    """
    found = survey(root)
    runs, gaps = [], [f"Run {run_id} is left out: {reason}." for run_id, reason in found.left_out.items()]
    known: set[str] = set()
    for result in found.whole:
        known |= {f"dataset={result['dataset']} profile={result['profile']}"}
        if dataset not in (None, result["dataset"]) or profile not in (None, result["profile"]):
            continue
        folder = runs_path(root) / result["run_id"]
        identity = _identity(folder / results.RUN)
        if not identity:
            gaps.append(
                f"Run {result['run_id']} ({result['task']} on {result['source']}) has no readable run.json, so its "
                "clips and queries can't be checked against those of other runs; it is kept apart."
            )
        runs.append(Run(result, identity, folder))
    if known and not runs:
        raise MissingError(
            "no finished run matches",
            expected=" ".join(f"{k}={v}" for k, v in (("dataset", dataset), ("profile", profile)) if v is not None),
            found="; ".join(sorted(known)),
            where=results_path(root),
            fix="choose one of these, or leave dataset= and profile= out",
        )
    if found.whole or found.left_out:
        tabulate(root, found)
    runs.sort(key=lambda run: (run.task, run.source, run.array, str(run.result["depth"]), run.seed, run.run_id))
    compared = staleness(root, [run.result for run in runs])
    gaps += [
        f"Dataset {name} can't be compared with what its results were computed from: {why}."
        for name, why in compared.unchecked.items()
    ]
    stale = [(run, compared.stale[run.run_id]) for run in runs if run.run_id in compared.stale]
    return Collected([run for run in runs if run.run_id not in compared.stale], gaps, found.left_out, stale)


def _identity(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = results.read_facts(path, "").get("identity", {})
    except SpatialprobeError:
        return {}
    return found
