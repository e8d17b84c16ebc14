"""Two entries on the same clips: difference, interval, p value and effect size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probe.metrics.comparison import PairedDifference, paired_difference, paired_resamples
from probe.metrics.statistics import Floats, Interval
from probe.report.scores.entries import Entry

ALPHA = 0.05
"""Level at which a corrected p value counts as a difference."""


@dataclass(frozen=True)
class Paired:
    """A difference of two entries.

    Attributes:
        metric: key.
        a_value, b_value: on the clips that both have.
        interval: of a - b.
        advantage: the difference, positive where a is better.
        p: two-sided p value; NaN without a test.
        smallest: smallest p value that this number of rooms, and for pooled metrics of resamples, allows.
        effect: advantage in standard deviations between rooms; NaN with fewer than three rooms or without spread.
        rooms_better: share of rooms in which a is better; NaN for pooled metrics.
        test: name of the test.
        reason: why there is no test; empty if there is one.
    """

    metric: str
    a_value: float
    b_value: float
    interval: Interval
    advantage: float
    p: float
    smallest: float
    effect: float
    rooms_better: float
    test: str
    reason: str = ""


def paired(a: Entry, b: Entry, metric: str) -> Paired:
    """Compare two entries of one setting by a metric.

    Metrics with a value per clip: mean difference over the clips where both have one, interval by resampling rooms,
    p value by flipping the sign of whole rooms. Pooled metrics: difference under the same resamples, p value from
    them, but never below what sign flips of that many rooms could give: with few rooms a bootstrap promises too much.

    Args:
        a, b: entries of the same setting.
        metric: key in `a.metrics`.
    """
    first, second = a.score(metric), b.score(metric)
    better = a.metrics[metric].better
    if first is None or second is None or a.clips is None or b.clips is None:
        return _untested(metric, a, b, "no values")
    if len(first.per_clip) and len(second.per_clip):
        return _paired(metric, *_per_clip(first.per_clip, second.per_clip, a), better)
    if not len(first.samples) or not len(second.samples):
        return _untested(metric, a, b, a.scored.gap or b.scored.gap or "the metric is not resampled")
    values = first.interval.value, second.interval.value
    found = paired_resamples(values[0] - values[1], first.samples - second.samples, a.clips.resamples)
    return _paired(metric, values, found, better)


def _paired(metric: str, values: tuple[float, float], found: PairedDifference, better: str) -> Paired:
    sign = 1.0 if better == "higher" else -1.0
    return Paired(
        metric,
        *values,
        found.interval,
        sign * found.interval.value,
        found.p_value,
        found.smallest,
        sign * found.effect,
        float(np.mean([sign * room > 0 for room in found.rooms])) if found.rooms else math.nan,
        found.test,
        found.interval.reason,
    )


def _per_clip(a: Floats, b: Floats, entry: Entry) -> tuple[tuple[float, float], PairedDifference]:
    assert entry.clips is not None
    clips, known = entry.clips, ~(np.isnan(a) | np.isnan(b))
    values = (float(a[known].mean()), float(b[known].mean())) if known.any() else (math.nan, math.nan)
    options = {"confidence": clips.confidence, "seed": clips.seed}
    return values, paired_difference(a, b, clips.rooms, n_resamples=clips.number, **options)  # type: ignore[arg-type]


def _untested(metric: str, a: Entry, b: Entry, reason: str) -> Paired:
    ours, theirs = (math.nan if score is None else score.interval.value for score in (a.score(metric), b.score(metric)))
    sign = 1.0 if a.metrics[metric].better == "higher" else -1.0
    interval = Interval(ours - theirs, math.nan, math.nan, 0, 0, 0, reason)
    advantage, nothing = sign * (ours - theirs), math.nan
    return Paired(
        metric, ours, theirs, interval, advantage, nothing, nothing, nothing, nothing, test="none", reason=reason
    )


def verdict(pair: Paired, p_holm: float, same_features: bool) -> str:
    """Return `a better`, `b better`, `not distinguishable`, `same features` or `no test`."""
    if same_features:
        return "same features"
    if math.isnan(p_holm):
        return "no test"
    if p_holm >= ALPHA or pair.advantage == 0:
        return "not distinguishable"
    return "a better" if pair.advantage > 0 else "b better"
