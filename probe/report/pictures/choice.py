"""Which runs and clips the pictures show: the chosen layer of each source, its first seed, a few common clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from configs.errors import MissingError
from configs.files import runs_path
from probe.report.contract import ReportData
from probe.report.page.values import records

PREDICTIONS = "predictions.parquet"
MAX_SOURCES = 12
"""Sources that pictures show per task, in the order of table `sources`."""


@dataclass(frozen=True)
class ShownRun:
    """A run that is shown: the chosen layer of a source."""

    run_id: str
    source: str
    label: str
    dataset: str
    folder: Path

    @property
    def who(self) -> dict[str, str]:
        """What `probe.report.page.labels.Sources` looks it up by."""
        return {"label": self.label, "source": self.source}


def shown_runs(data: ReportData, task: str) -> list[ShownRun]:
    """Return one run per source in the task's main setting, of the first board that has one."""
    main = [row["setting"] for row in records(data.table("settings")) if row["main"] and row["task"] == task]
    order = {row["label"]: i for i, row in enumerate(records(data.table("sources")))}
    runs = {row["run_id"]: row for row in records(data.table("runs"))}
    for setting in main:
        found: dict[str, ShownRun] = {}
        for row in records(data.table("entries")):
            names = [run for run in str(row["runs"] or "").split(",") if run in runs]
            if row["setting"] != setting or not row["chosen"] or row["label"] in found or not names:
                continue
            run = {**runs[names[0]], "label": row["label"]}
            found[row["label"]] = ShownRun(
                run_id=str(run["run_id"]),
                source=str(run["source"]),
                label=str(run["label"]),
                dataset=str(run["dataset"]),
                folder=runs_path(data.root) / str(run["run_id"]),
            )
        if found:
            return sorted(found.values(), key=lambda run: order.get(run.label, len(order)))[:MAX_SOURCES]
    return []


@lru_cache(maxsize=64)
def predicted_clips(run: ShownRun) -> tuple[str, ...]:
    """Return the clips of the report split that a run kept predictions of; none if the file is gone or damaged."""
    import pandas as pd

    path = run.folder / PREDICTIONS
    if not path.is_file():
        return ()
    try:
        table = pd.read_parquet(path, columns=["split", "clip_id"])
    except (OSError, ValueError):
        return ()
    return tuple(dict.fromkeys(table.loc[table["split"] == "report", "clip_id"].astype(str)))


def prediction(run: ShownRun, clip_id: str) -> dict[str, Any]:
    """Return a run's prediction for a clip, its first draw of queries.

    Raises:
        MissingError: it kept none.
    """
    from pyarrow.parquet import ParquetFile

    path = run.folder / PREDICTIONS
    if clip_id in predicted_clips(run):
        with ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=4):  # dense predictions of a whole split may not fit into memory
                keys = zip(batch["split"].to_pylist(), batch["clip_id"].to_pylist(), strict=True)
                for i, key in enumerate(keys):
                    if key == ("report", clip_id):
                        return {str(name): value for name, value in batch.slice(i, 1).to_pandas().iloc[0].items()}
    raise MissingError(f"run {run.run_id} kept no prediction for {clip_id}", where=path)


def common_clips(runs: Sequence[ShownRun], count: int) -> list[str]:
    """Return the clips, sorted, that most of the runs have predictions of; at most `count`."""
    votes: dict[str, int] = {}
    for run in runs:
        for clip_id in predicted_clips(run):
            votes[clip_id] = votes.get(clip_id, 0) + 1
    return sorted(sorted(votes), key=lambda clip_id: -votes[clip_id])[:count]


def points_file(run: ShownRun, clip_id: str) -> Path | None:
    """Return the file with the points that a run predicted for a clip, None if it kept none."""
    name = f"points/{clip_id}-predicted.ply"
    places = [run.folder / name, *sorted(run.folder.glob(f"predictions/*/{name}"))]
    return next((place for place in places if place.is_file()), None)
