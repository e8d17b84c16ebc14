"""Two entries on the same clips: difference, interval, p value and effect size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from probe.metrics.comparison import Difference, compare_with_zero
from probe.metrics.statistics import Estimate, Interval, contrast, estimate_mean
from probe.report.scores.entries import Entry

ALPHA = 0.05
"""Level at which a corrected p value counts as a difference."""


@dataclass(frozen=True)
class Paired:
    """A difference of two entries.

    Attributes:
        metric: key.
        a_value, b_value: estimates on the clips that both have.
        interval: of a - b.
        advantage: the difference, positive where a is better.
        p: two-sided p value; NaN without a test.
        smallest: smallest p value that this number of rooms and draws allows.
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
    """Compare two entries of one setting by a metric, on the clips where every seed of both has a value.

    Args:
        a, b: entries of the same setting.
        metric: key in `a.metrics`.
    """
    estimates = common_estimates([a, b], metric)
    if isinstance(estimates, str):
        return untested(metric, a, b, estimates)
    assert a.clips is not None
    options = {"confidence": a.clips.confidence, "number": a.clips.number, "seed": a.clips.seed}
    found = compare_with_zero(contrast((1, -1), estimates), **options)  # type: ignore[arg-type]
    return described(metric, (estimates[0].value, estimates[1].value), found, a.metrics[metric].better)


def common_estimates(entries: Sequence[Entry], metric: str) -> list[Estimate] | str:
    """Return the estimates of several entries on the clips that all have; a text says why there are none.

    Args:
        entries: of the same setting.
        metric: key in their metrics.
    """
    scores = [entry.score(metric) for entry in entries]
    known = [score for score in scores if score is not None and score.estimate is not None]
    if len(known) < len(entries) or any(entry.clips is None for entry in entries):
        return next((entry.scored.gap for entry in entries if entry.scored.gap), "no values")
    if not all(score.parts for score in known):
        return [score.estimate for score in known if score.estimate is not None]
    clips = entries[0].clips
    assert clips is not None
    missing = np.any([np.isnan(part).any(axis=0) for score in known for _, part in score.parts], axis=0)
    found = []
    for score in known:
        some = [estimate_mean(np.where(missing, np.nan, part), clips.rooms) for _, part in score.parts]
        found.append(contrast([weight for weight, _ in score.parts], some))
    return found


def described(metric: str, values: tuple[float, float], found: Difference, better: str) -> Paired:
    """Return a difference as the report has it: positive advantages and effects where a is better."""
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
        found.reason,
    )


def untested(metric: str, a: Entry, b: Entry, reason: str) -> Paired:
    """Return the difference of two entries that can't be tested, with the reason."""
    ours, theirs = (math.nan if score is None else score.interval.value for score in (a.score(metric), b.score(metric)))
    sign = 1.0 if a.metrics[metric].better == "higher" else -1.0
    interval = Interval(ours - theirs, math.nan, math.nan, 0, 0, reason)
    advantage, nothing = sign * (ours - theirs), math.nan
    return Paired(
        metric, ours, theirs, interval, advantage, nothing, nothing, nothing, nothing, test="none", reason=reason
    )


def verdict(pair: Paired, p_corrected: float, same_features: bool, *, exploratory: bool = False) -> str:
    """Return `a better`, `b better`, `not distinguishable`, `same features`, `no test` or `exploratory`."""
    if same_features:
        return "same features"
    if math.isnan(p_corrected):
        return "no test"
    if exploratory:
        return "exploratory"
    if p_corrected >= ALPHA or pair.advantage == 0:
        return "not distinguishable"
    return "a better" if pair.advantage > 0 else "b better"
