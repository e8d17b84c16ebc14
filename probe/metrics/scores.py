"""Scores of a split: values per clip, means over clips with what was left out and why, and rows of predictions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from probe.metrics.score import ClipScore
from probe.metrics.statistics import Floats, Interval, estimate_mean, estimate_pooled, interval_of


@dataclass(frozen=True)
class DatasetMean:
    """Mean of one metric over clips.

    Attributes:
        value: mean over the clips where the metric is defined; NaN if there is none.
        count: clips in the mean.
        undefined: clips left out.
        reasons: reason -> clips.
    """

    value: float
    count: int
    undefined: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)


def clip_value(score: ClipScore, key: str) -> float:
    """Return a metric of a clip, NaN where it is undefined or was not computed."""
    return math.nan if key in score.undefined else score.values.get(key, math.nan)


def clip_values(scores: Sequence[ClipScore], key: str) -> NDArray[np.float64]:
    """(N,) values of one metric, NaN for clips where it is undefined or was not computed."""
    return np.array([clip_value(score, key) for score in scores])


def mean_over_clips(scores: Sequence[ClipScore]) -> dict[str, DatasetMean]:
    """Unweighted mean of every metric over the clips where it is defined.

    Args:
        scores: one per clip.

    Returns:
        metric key -> mean, keys in order of first appearance.
    """
    means = {}
    for key in dict.fromkeys(key for clip in scores for key in clip.values):
        values = clip_values(scores, key)
        used = ~np.isnan(values)
        reasons = Counter(
            clip.undefined.get(key, "not computed") for clip, known in zip(scores, used, strict=True) if not known
        )
        value = float(np.where(used, values, 0.0).sum() / used.sum()) if used.any() else math.nan
        means[key] = DatasetMean(value, int(used.sum()), int((~used).sum()), dict(reasons))
    return means


@dataclass(frozen=True)
class LeftOut:
    """A statistic of the whole split, for a population of rooms.

    Attributes:
        estimate: of the value over infinitely many rooms drawn like these; NaN if undefined.
        without: (G,) the same without each room in turn, rooms in the order of their names.
    """

    estimate: float
    without: Floats


@dataclass(frozen=True)
class PooledScores:
    """Metrics of a whole split, of one seed.

    Attributes:
        values: metric -> value on the clips of the split, as its definition says.
        metrics: metric -> estimate for a population of rooms.
        classes: the same of each class, for the metric that classes have.
        notes: metric -> what its estimate leaves out.
        bands: metric -> value and the ends of a band that needs no rooms, such as that of chance.
    """

    values: Mapping[str, float]
    metrics: Mapping[str, LeftOut]
    classes: Sequence[LeftOut] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    bands: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)


@dataclass
class Scores:
    """What an evaluator returns.

    Attributes:
        clip_ids: (N,) the clips, in the order in which they were added.
        per_clip: (N,) one score each; may be empty of values for tasks that rank clips against each other.
        pooled: metric -> value of the whole split, for those tasks.
        by_room: from (N,) the room of each clip to those metrics with and without each room.
        classes: one row per class, for tasks with classes.
        predictions: one row per clip: `clip_id`, `queries`, the task's own columns of numbers and arrays; columns that
            begin with `_` are for pictures only and are not written.
    """

    clip_ids: list[str] = field(default_factory=list)
    per_clip: list[ClipScore] = field(default_factory=list)
    pooled: dict[str, float] = field(default_factory=dict)
    by_room: Callable[[Sequence[str]], PooledScores] | None = None
    classes: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)

    def value(self, key: str) -> float:
        """Return one metric of the split; NaN if it is undefined or was not computed."""
        if key in self.pooled:
            return self.pooled[key]
        found = mean_over_clips(self.per_clip).get(key)
        return found.value if found else math.nan

    def summary(self, groups: Mapping[str, str], resamples: int, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Return metric -> `value`, `estimate`, `low`, `high` (95 %, over rooms), `n`, `undefined`, `reasons`.

        `value` is the metric's own definition on these clips (a mean over clips, or a statistic of the split);
        `estimate` is for a population of rooms (the mean over rooms of room means), and what the interval is of. None
        is undefined.

        Args:
            groups: clip id -> room.
            resamples: draws of the intervals.
            seed: of the draws, the same for every model.
        """
        rooms = [groups.get(clip_id, clip_id) for clip_id in self.clip_ids]
        clips = len(rooms)
        pooled = self.by_room(rooms) if self.by_room else PooledScores({}, {})
        result = {}
        for key, value in self.pooled.items():
            reasons = {pooled.notes[key]: 1} if key in pooled.notes else {}
            if key in pooled.bands:
                interval = Interval(*pooled.bands[key], clips, 0)
            elif key in pooled.metrics:
                found = pooled.metrics[key]
                whole = estimate_pooled(np.array([found.estimate]), found.without[None], clips)
                interval = interval_of(whole, number=resamples, seed=seed)
            else:
                interval = Interval(value, math.nan, math.nan, clips, 0, "not estimated by room")
            result[key] = _row(value, interval, clips, 0, reasons)
        for key, mean in mean_over_clips(self.per_clip).items():
            values = clip_values(self.per_clip, key)
            interval = interval_of(estimate_mean(values, rooms), number=resamples, seed=seed)
            result[key] = _row(mean.value, interval, mean.count, mean.undefined, mean.reasons)
        return result


def _row(value: float, interval: Interval, count: int, undefined: int, reasons: Mapping[str, int]) -> dict[str, Any]:
    row = {
        "value": number(value),
        "estimate": number(interval.value),
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
