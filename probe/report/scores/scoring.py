"""Scores of one entry: an estimate over rooms and seeds for every metric."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from probe.metrics.scores import PooledScores
from probe.metrics.statistics import Estimate, Floats, Interval, estimate_mean, estimate_pooled, interval_of
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
        interval: estimate for a population of rooms with its interval, clips and rooms.
        on_clips: the metric's own definition on these clips, mean over seeds: what results files call `value`.
        seeds: `on_clips` of each seed alone.
        undefined: clips without a value in some seed.
        estimate: what the interval is of; None if the tables of a run are missing.
        parts: for metrics that clips have, weights and (S, N) values per seed and clip, NaN = undefined: one part, or
            several of an average of entries.
        note: what the estimate leaves out.
    """

    interval: Interval
    on_clips: float
    seeds: tuple[float, ...] = ()
    undefined: int = 0
    estimate: Estimate | None = None
    parts: tuple[tuple[float, Floats], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ReportClips:
    """The clips on which a setting reports.

    Attributes:
        ids: clip ids.
        rooms: room of each.
        number, confidence, seed: of the draws of intervals.
    """

    ids: tuple[str, ...]
    rooms: tuple[str, ...]
    number: int
    confidence: float
    seed: int

    def interval(self, estimate: Estimate) -> Interval:
        """Return the interval of an estimate, from the draws that all entries of the setting share."""
        return interval_of(estimate, confidence=self.confidence, number=self.number, seed=self.seed)


@dataclass(frozen=True)
class Scored:
    """What the runs of an entry add up to.

    Attributes:
        scores: metric -> score.
        classes: one row per class with its `interval`; empty for tasks without classes.
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
    scores = {name: _of_mean(cube[:, :, i], clips) for i, name in enumerate(names)}
    classes: Sequence[Mapping[str, Any]] = ()
    if pooled:
        found, classes = _pooled(runs, clips)
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
    return sorted(rows["clip_id"].astype(str)) == sorted(clips.ids) and _jackknife(run).fits(rows, run.result)


def _of_mean(values: Floats, clips: ReportClips) -> Score:
    """Score a metric that each clip has: (S, N) values of S seeds."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # means of nothing are NaN, as they should be
        seeds = np.nanmean(values, axis=1)
    estimate = estimate_mean(values, clips.rooms)
    undefined = int(np.isnan(values).any(axis=0).sum())
    each = tuple(float(s) for s in seeds)
    return Score(clips.interval(estimate), float(seeds.mean()), each, undefined, estimate, ((1.0, values),))


def _pooled(runs: Sequence[Run], clips: ReportClips) -> tuple[dict[str, Score], list[dict[str, Any]]]:
    """Score metrics of the whole split, and of its classes."""
    found: list[PooledScores] = [
        _jackknife(run).pooled_scores(_predictions(run, clips), run.result, clips.rooms) for run in runs
    ]
    first, n = found[0], len(clips.ids)
    scores = {}
    for name in first.metrics:
        seeds = tuple(one.values[name] for one in found)
        some = [one.metrics[name] for one in found]
        estimate = estimate_pooled(np.array([m.estimate for m in some]), np.stack([m.without for m in some]), n)
        note = first.notes.get(name, "")
        scores[name] = Score(clips.interval(estimate), float(np.mean(seeds)), seeds, 0, estimate, note=note)
    for name, (value, low, high) in first.bands.items():
        scores[name] = Score(Interval(value, low, high, n, 0), value, (value,) * len(runs))
    classes = []
    for row, *some in zip(runs[0].result["classes"], *(one.classes for one in found), strict=True):
        estimate = estimate_pooled(np.array([m.estimate for m in some]), np.stack([m.without for m in some]), n)
        classes.append({**row, "interval": clips.interval(estimate)})
    return scores, classes


def _jackknife(run: Run) -> ModuleType:
    found = load_task(run.task).part("jackknife")
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
        known = [row.get("estimate", row.get("value")) for row in rows]
        estimates = [float(estimate) for estimate in known if estimate is not None]
        mean = float(np.mean(estimates)) if estimates else math.nan
        interval = Interval(mean, ends[0], ends[1], clips, 0, gap)
        undefined = max(int(row.get("undefined") or 0) for row in rows)
        scores[name] = Score(interval, value, tuple(values), undefined)
    return Scored(scores, (), gap)
