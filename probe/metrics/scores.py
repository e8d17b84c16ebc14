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
from probe.metrics.statistics import Floats, Interval, Resamples

CONFIDENCE = 0.95
"""Coverage of the intervals in results."""


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


@dataclass
class Scores:
    """What an evaluator returns.

    Attributes:
        clip_ids: (N,) the clips, in the order in which they were added.
        per_clip: (N,) one score each; may be empty of values for tasks that rank clips against each other.
        pooled: metric -> value of the whole split, for those tasks.
        resampled: from (R, N), how often each clip is in each resample, to metric -> (R,) values, for those metrics.
        classes: one row per class, for tasks with classes.
        predictions: one row per clip: `clip_id`, `queries`, the task's own columns of numbers and arrays; columns that
            begin with `_` are for pictures only and are not written.
    """

    clip_ids: list[str] = field(default_factory=list)
    per_clip: list[ClipScore] = field(default_factory=list)
    pooled: dict[str, float] = field(default_factory=dict)
    resampled: Callable[[Floats], Mapping[str, Floats]] | None = None
    classes: list[dict[str, Any]] = field(default_factory=list)
    predictions: list[dict[str, Any]] = field(default_factory=list)

    def value(self, key: str) -> float:
        """Return one metric of the split; NaN if it is undefined or was not computed."""
        if key in self.pooled:
            return self.pooled[key]
        found = mean_over_clips(self.per_clip).get(key)
        return found.value if found else math.nan

    def summary(self, groups: Mapping[str, str], resamples: int, seed: int = 0) -> dict[str, dict[str, Any]]:
        """Return metric -> `value`, `low`, `high` (95 %, over rooms), `n`, `undefined`, `reasons`; None = undefined.

        Args:
            groups: clip id -> room.
            resamples: bootstrap resamples.
            seed: of the resamples, the same for every model.
        """
        draws = Resamples.draw([groups.get(clip_id, clip_id) for clip_id in self.clip_ids], resamples, CONFIDENCE, seed)
        result = {}
        samples = self.resampled(draws.of_clips()) if self.resampled else {}
        for key, value in self.pooled.items():
            result[key] = _row(
                value, draws.interval(value, samples[key], len(self.clip_ids)), len(self.clip_ids), 0, {}
            )
        for key, mean in mean_over_clips(self.per_clip).items():
            interval = draws.interval_of_mean(clip_values(self.per_clip, key))
            result[key] = _row(mean.value, interval, mean.count, mean.undefined, mean.reasons)
        return result


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
