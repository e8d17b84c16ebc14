"""Two entries on the same clips: difference, interval, p value and effect size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from probe.metrics.resamples import Floats, Resamples
from probe.metrics.statistics import EXACT_ROOMS, FLIPS, Interval, paired_difference
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
    draws = a.clips.resamples
    if len(first.per_clip) and len(second.per_clip):
        return _per_clip(metric, first.per_clip, second.per_clip, a, draws, better)
    if not len(first.samples) or not len(second.samples):
        return _untested(metric, a, b, a.scored.gap or b.scored.gap or "the metric is not resampled")
    return _pooled(metric, a, b, draws, better)


def _per_clip(metric: str, a: Floats, b: Floats, entry: Entry, draws: Resamples, better: str) -> Paired:
    assert entry.clips is not None
    known = ~(np.isnan(a) | np.isnan(b))
    options = {"confidence": draws.confidence, "n_resamples": entry.clips.number, "seed": draws.seed}
    found = paired_difference(a, b, entry.clips.rooms, **options)  # type: ignore[arg-type]
    sign = 1.0 if better == "higher" else -1.0
    rooms = draws.room_means(np.where(known, a - b, np.nan))
    rooms = sign * rooms[~np.isnan(rooms)]
    spread = float(rooms.std(ddof=1)) if len(rooms) > 2 else math.nan
    value = found.interval.value
    return Paired(
        metric,
        float(a[known].mean()) if known.any() else math.nan,
        float(b[known].mean()) if known.any() else math.nan,
        found.interval,
        sign * value,
        found.p_value,
        smallest_p(found.interval.n_groups),
        float(rooms.mean()) / spread if spread > 1e-12 else math.nan,
        float((rooms > 0).mean()) if len(rooms) else math.nan,
        found.test,
        found.interval.reason,
    )


def _pooled(metric: str, a: Entry, b: Entry, draws: Resamples, better: str) -> Paired:
    first, second = a.scored.scores[metric], b.scored.scores[metric]
    assert a.clips is not None
    difference = first.interval.value - second.interval.value
    samples = first.samples - second.samples
    interval = draws.interval(difference, samples, len(a.clips.ids))
    sign = 1.0 if better == "higher" else -1.0
    known = samples[~np.isnan(samples)]
    p, effect = math.nan, math.nan
    smallest = max(smallest_p(draws.n_rooms), 2.0 / (len(known) + 1))
    if not interval.reason:
        side = min(int((known <= 0).sum()), int((known >= 0).sum()))
        p = max(min(1.0, 2.0 * (side + 1) / (len(known) + 1)), smallest)
        spread = float(known.std(ddof=1)) * math.sqrt(draws.n_rooms) if len(known) > 1 else 0.0
        effect = sign * difference / spread if spread > 1e-12 and draws.n_rooms > 2 else math.nan
    test = "bootstrap, bounded by sign flips"
    return Paired(
        metric,
        first.interval.value,
        second.interval.value,
        interval,
        sign * difference,
        p,
        smallest,
        effect,
        math.nan,
        test,
        interval.reason,
    )


def _untested(metric: str, a: Entry, b: Entry, reason: str) -> Paired:
    ours, theirs = (math.nan if score is None else score.interval.value for score in (a.score(metric), b.score(metric)))
    sign = 1.0 if a.metrics[metric].better == "higher" else -1.0
    interval = Interval(ours - theirs, math.nan, math.nan, 0, 0, 0, reason)
    advantage, nothing = sign * (ours - theirs), math.nan
    return Paired(
        metric, ours, theirs, interval, advantage, nothing, nothing, nothing, nothing, test="none", reason=reason
    )


def smallest_p(rooms: int) -> float:
    """Return the smallest p value of sign flips of that many rooms; NaN with fewer than two."""
    if rooms < 2:
        return math.nan
    return 2.0 ** (1 - rooms) if rooms <= EXACT_ROOMS else max(2.0 ** (1 - rooms), 1.0 / (FLIPS + 1))


def verdict(pair: Paired, p_holm: float, same_features: bool) -> str:
    """Return `a better`, `b better`, `not distinguishable`, `same features` or `no test`."""
    if same_features:
        return "same features"
    if math.isnan(p_holm):
        return "no test"
    if p_holm >= ALPHA or pair.advantage == 0:
        return "not distinguishable"
    return "a better" if pair.advantage > 0 else "b better"
