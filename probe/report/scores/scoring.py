"""Scores of one entry: seeds averaged clip by clip, then resampled by room."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.metrics.statistics import Floats, Interval, Resamples
from probe.report.columns import task_columns
from probe.report.runs.collect import Run
from probe.task import load_task

if TYPE_CHECKING:
    import pandas as pd

SKIPPED = ("count.", "loss_")
"""Beginnings of names that are no metrics."""
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Score:
    """One metric of an entry.

    Attributes:
        interval: value with its interval, clips and rooms.
        seeds: value of each seed alone.
        undefined: clips without a value in any seed.
        samples: (R,) value under each resample; empty for metrics that no difference or average needs.
        per_clip: (N,) mean over seeds, NaN = undefined; empty for metrics that rank clips against each other.
    """

    interval: Interval
    seeds: tuple[float, ...] = ()
    undefined: int = 0
    samples: Floats = field(default_factory=lambda: np.zeros(0))
    per_clip: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class ReportClips:
    """The clips on which a setting reports.

    Attributes:
        ids: clip ids.
        rooms: room of each.
        number, confidence, seed: of the resamples.
    """

    ids: tuple[str, ...]
    rooms: tuple[str, ...]
    number: int
    confidence: float
    seed: int

    @cached_property
    def resamples(self) -> Resamples:
        """The resamples that all entries of the setting share."""
        return Resamples.draw(self.rooms, self.number, self.confidence, self.seed)


@dataclass(frozen=True)
class Scored:
    """What the runs of an entry add up to.

    Attributes:
        scores: metric -> score.
        classes: one row per class with `samples`; empty for tasks without classes.
        gap: why there are no intervals although runs exist; empty if all is well.
    """

    scores: Mapping[str, Score]
    classes: Sequence[Mapping[str, Any]] = ()
    gap: str = ""


def report_clips(runs: Sequence[Run], number: int, confidence: float, seed: int) -> ReportClips | None:
    """Return the report clips of runs that share them, from the first that still has its tables."""
    for run in runs:
        if run.clips is not None:
            rows = run.clips[run.clips["split"] == "report"].drop_duplicates("clip_id")
            ids, rooms = tuple(rows["clip_id"].astype(str)), tuple(rows["group_id"].astype(str))
            return ReportClips(ids, rooms, number, confidence, seed)
    return None


def score(runs: Sequence[Run], clips: ReportClips | None, *, pooled: bool) -> Scored:
    """Return the scores of runs that differ only in the seed.

    Args:
        runs: one per seed.
        clips: of the setting; None if no run of it has tables.
        pooled: whether the task ranks clips against each other.
    """
    gone = [run.run_id for run in runs if run.clips is None or (pooled and run.predictions is None)]
    if clips is None or gone:
        return _from_results(runs, f"the tables of {', '.join(gone or [run.run_id for run in runs])} are missing")
    stacks = [_matrix(run, clips) for run in runs]
    if any(stack is None for stack in stacks) or (pooled and not all(_covers(run, clips) for run in runs)):
        return _from_results(runs, f"the tables of {', '.join(run.run_id for run in runs)} hold other clips")
    matrices = [stack for stack in stacks if stack is not None]
    names = list(dict.fromkeys(name for matrix in matrices for name in matrix))
    blank = np.full(len(clips.ids), np.nan)
    cube = np.stack([np.stack([matrix.get(name, blank) for name in names], axis=1) for matrix in matrices])
    kept = {column.metric for column in task_columns(runs[0].task)}
    scores = {name: _of_mean(cube[:, :, i], clips, keep=name in kept) for i, name in enumerate(names)}
    classes: Sequence[Mapping[str, Any]] = ()
    if pooled:
        found, classes = _pooled(runs, clips, kept)
        scores |= found
    wrong = _disagreement(runs, scores)
    return _from_results(runs, wrong) if wrong else Scored(scores, classes)


def _matrix(run: Run, clips: ReportClips) -> dict[str, Floats] | None:
    """Return metric -> (N,) values in the order of the setting's clips; None if the run has other clips."""
    assert run.clips is not None
    rows = run.clips[(run.clips["split"] == "report") & ~run.clips["metric"].str.startswith(SKIPPED)]
    rows = rows.assign(clip_id=rows["clip_id"].astype(str)).drop_duplicates(["clip_id", "metric"])
    table = rows.set_index(["clip_id", "metric"])["value"].unstack()
    known = set(run.clips.loc[run.clips["split"] == "report", "clip_id"].astype(str))
    if known != set(clips.ids):
        return None
    table = table.reindex(list(clips.ids))
    return {str(name): table[name].to_numpy(np.float64) for name in table.columns}


def _covers(run: Run, clips: ReportClips) -> bool:
    """Whether predictions are there for just the setting's clips, and belong to the results file."""
    assert run.predictions is not None
    rows = run.predictions[run.predictions["split"] == "report"]
    return sorted(rows["clip_id"].astype(str)) == sorted(clips.ids) and _resampled(run).fits(rows, run.result)


def _of_mean(values: Floats, clips: ReportClips, *, keep: bool) -> Score:
    """Score a metric that each clip has: (S, N) values of S seeds; `keep` its resamples."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should be
        mean, seeds = np.nanmean(values, axis=0), np.nanmean(values, axis=1)
    draws = clips.resamples
    kept = draws.means(mean[:, None])[:, 0] if keep else np.zeros(0)
    undefined = int(np.isnan(mean).sum())
    return Score(draws.interval_of_mean(mean), tuple(float(s) for s in seeds), undefined, kept, mean)


def _pooled(
    runs: Sequence[Run], clips: ReportClips, kept: Collection[str]
) -> tuple[dict[str, Score], list[dict[str, Any]]]:
    """Score metrics of the whole split: each seed alone, then the mean over seeds in every resample.

    Resamples of the metrics in `kept` are kept.
    """
    whole, drawn, per_class, class_samples = [], [], [], []
    draws = clips.resamples
    counts = draws.of_clips()
    once = np.ones((1, len(clips.ids)))
    for run in runs:
        rows, samples_of = _predictions(run, clips), _resampled(run).samples
        values, ap = samples_of(rows, run.result, once)
        whole.append({name: float(value[0]) for name, value in values.items()})
        per_class.append(ap[0])
        values, ap = samples_of(rows, run.result, counts)
        drawn.append(values)
        class_samples.append(ap)
    scores = {}
    n = len(clips.ids)
    for name in whole[0]:
        seeds = tuple(values[name] for values in whole)
        samples = np.mean([values[name] for values in drawn], axis=0)
        interval = draws.interval(float(np.mean(seeds)), samples, n)
        scores[name] = Score(interval, seeds, 0, samples if name in kept else np.zeros(0))
    mean, samples = np.mean(per_class, axis=0), np.mean(class_samples, axis=0)
    classes = [
        {**row, "interval": draws.interval(float(mean[i]), samples[:, i], n)}
        for i, row in enumerate(runs[0].result["classes"])
    ]
    return scores, classes


def _resampled(run: Run) -> ModuleType:
    found = load_task(run.task).part("resampled")
    assert found is not None
    return found


def _predictions(run: Run, clips: ReportClips) -> pd.DataFrame:
    """Return the predictions for the setting's clips, in their order."""
    assert run.predictions is not None
    rows = run.predictions[run.predictions["split"] == "report"]
    return rows.set_index(rows["clip_id"].astype(str)).loc[list(clips.ids)]


def _disagreement(runs: Sequence[Run], scores: Mapping[str, Score]) -> str:
    """Say where tables and results file tell different values; empty if they agree."""
    for i, run in enumerate(runs):
        for name, row in run.result["report"].items():
            told = row.get("value")
            if told is None or name not in scores or i >= len(scores[name].seeds):
                continue
            found = scores[name].seeds[i]
            if math.isnan(found) or abs(found - told) > _TOLERANCE * max(1.0, abs(told)):
                return f"the tables of {run.run_id} give {name} {found:.6g}, its results file {told:.6g}"
    return ""


def _from_results(runs: Sequence[Run], gap: str) -> Scored:
    """Return what the results files say: the interval of a single run, none over several seeds."""
    scores = {}
    for name in dict.fromkeys(name for run in runs for name in run.result["report"]):
        if name.startswith(SKIPPED):
            continue
        rows = [run.result["report"].get(name, {}) for run in runs]
        values = [row["value"] for row in rows if row.get("value") is not None]
        clips = min((int(row.get("n") or 0) for row in rows), default=0)
        value = float(np.mean(values)) if values else math.nan
        low, high = (rows[0].get(key) if len(rows) == 1 else None for key in ("low", "high"))
        ends = [math.nan if end is None else float(end) for end in (low, high)]
        interval = Interval(value, ends[0], ends[1], clips, 0, 0, gap)
        scores[name] = Score(interval, tuple(values), max(int(row.get("undefined") or 0) for row in rows))
    return Scored(scores, (), gap)
