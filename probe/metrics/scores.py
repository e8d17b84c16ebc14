"""Scores of a split: values per clip, means over clips, and what a table of predictions needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.metrics.aggregate import mean_over_clips
from probe.metrics.score import ClipScore
from probe.metrics.statistics import Interval, bootstrap_mean, bootstrap_statistic


@dataclass(frozen=True)
class Statistic:
    """A metric of a whole split as a function of clip indices, and its value on all clips."""

    value: float
    of: Any


@dataclass
class Scores:
    """What an evaluator returns.

    Attributes:
        clip_ids: (N,) the clips, in the order in which they were added.
        per_clip: (N,) one score each; may be empty of values for tasks that rank clips against each other.
        pooled: metric -> value of the whole split with its function of clip indices, for those tasks.
        counts: metric -> what the pooled value rests on.
        classes: one row per class, for tasks with classes.
        predictions: one row per clip: `clip_id`, `views` and the task's own columns of numbers and arrays; columns that
            begin with `_` are for pictures only and are not written.
    """

    clip_ids: list[str] = field(default_factory=list)
    per_clip: list[ClipScore] = field(default_factory=list)
    pooled: dict[str, Statistic] = field(default_factory=dict)
    classes: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)

    def value(self, key: str) -> float:
        """Return one metric of the split; NaN if it is undefined or was not computed."""
        if key in self.pooled:
            return self.pooled[key].value
        found = mean_over_clips(self.per_clip).get(key)
        return found.value if found else math.nan

    def summary(self, groups: Mapping[str, str], resamples: int, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Return metric -> `value`, `low`, `high` (95 %, over rooms), `n`, `undefined`, `reasons`; None = undefined.

        Args:
            groups: clip id -> room.
            resamples: bootstrap resamples.
            seed: of the resamples, the same for every model.
        """
        rooms = [groups.get(clip_id, clip_id) for clip_id in self.clip_ids]
        result = {}
        for key, statistic in self.pooled.items():
            interval = bootstrap_statistic(statistic.of, rooms, n_resamples=resamples, seed=seed)
            result[key] = _row(statistic.value, interval, len(rooms), 0, {})
        for key, mean in mean_over_clips(self.per_clip).items():
            values = np.array([clip_value(score, key) for score in self.per_clip])
            interval = bootstrap_mean(values, rooms, n_resamples=resamples, seed=seed)
            result[key] = _row(mean.value, interval, mean.count, mean.undefined, mean.reasons)
        return result


def clip_value(score: ClipScore, key: str) -> float:
    """Return a metric of a clip, NaN where it is undefined."""
    return math.nan if key in score.undefined else score.values.get(key, math.nan)


def _row(value: float, interval: Interval, count: int, undefined: int, reasons: Mapping[str, int]) -> dict[str, Any]:
    row = {
        "value": number(value),
        "low": number(interval.low),
        "high": number(interval.high),
        "n": count,
        "undefined": undefined,
    }
    why = dict(reasons)
    if interval.reason and not math.isnan(value):
        why[f"no interval: {interval.reason}"] = 1
    return {**row, "reasons": why}


def number(value: float | None) -> float | None:
    """Return a number for a file: None instead of NaN and infinity, never a fake zero."""
    return float(value) if value is not None and math.isfinite(value) else None


def flat(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array as one row of numbers, for one cell of a Parquet table."""
    return np.ascontiguousarray(array).reshape(-1)
