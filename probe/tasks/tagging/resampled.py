"""Tagging metrics of many resamples at once; equal to `tagging_score` on the repeated clips."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from probe.metrics.score import Variant
from probe.metrics.statistics import Floats
from probe.tasks.tagging.metrics import ranking_scores

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("logits", "labels")
"""Columns of predictions that the report reads."""
BUCKETS = ("head", "mid", "tail")


def fits(rows: pd.DataFrame, result: Mapping[str, Any]) -> bool:
    """Return whether predictions have as many classes as a run's result."""
    return {len(row) for name in COLUMNS for row in rows[name]} == {len(result["classes"])}


def samples(rows: pd.DataFrame, result: Mapping[str, Any], counts: Floats) -> tuple[dict[str, Floats], Floats]:
    """Return metric -> (R,) values, and (R, C) average precision per class.

    Args:
        rows: N predictions of a run, one per clip.
        result: of the run.
        counts: (R, N) how often each clip is in each resample.
    """
    labels = np.stack([np.asarray(row, bool) for row in rows["labels"]])
    logits = np.stack([np.asarray(row, np.float64) for row in rows["logits"]])
    buckets = [row["bucket"] for row in result["classes"]]
    return tagging_samples(labels, logits, buckets, counts, result["variant"])


def class_ap(labels: NDArray[np.bool_], logits: Floats, counts: Floats, variant: Variant) -> Floats:
    """Return the average precision of each class under each resample.

    Args:
        labels: (N, C) positives.
        logits: (N, C) finite scores.
        counts: (R, N) how often each clip is in each resample.
        variant: `standard` takes one step per distinct score. `paper` takes one per clip; repeats of a clip follow it.

    Returns:
        (R, C); NaN where a class has no positive.
    """
    ranked = ranking_scores(logits, variant=variant)
    found = np.full((len(counts), labels.shape[1]), np.nan)
    for c in range(labels.shape[1]):
        if not labels[:, c].any():
            continue
        order = np.argsort(-ranked[:, c], kind="stable")
        drawn = counts[:, order]
        hits = drawn * labels[order, c]
        true, rank = np.cumsum(hits, axis=1), np.cumsum(drawn, axis=1)
        if variant == "standard":
            score = ranked[order, c]
            ends = np.append(np.flatnonzero(score[:-1] != score[1:]), len(score) - 1)
            true, rank = true[:, ends], rank[:, ends]
            gained = np.diff(true, axis=1, prepend=0.0)
            total = (gained * true / np.maximum(rank, 1.0)).sum(axis=1)
        else:
            total = _one_by_one(hits, true, rank, drawn)
        np.divide(total, true[:, -1], out=found[:, c], where=true[:, -1] > 0)
    return found


def _one_by_one(hits: Floats, true: Floats, rank: Floats, drawn: Floats) -> Floats:
    """Sum precision over the positives, repeats counted one after the other.

    A positive that is drawn w times after k positives and r clips adds the sum over j = 1..w of (k + j) / (r + j),
    which is w - (r - k) (H(r + w) - H(r)) with the harmonic numbers H.
    """
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, int(rank.max()) + 1))])
    before = (rank - drawn).astype(np.int64)
    negatives = before - (true - hits)
    gain = hits - negatives * (harmonic[(before + hits).astype(np.int64)] - harmonic[before])
    total: Floats = np.where(hits > 0, gain, 0.0).sum(axis=1)
    return total


def tagging_samples(
    labels: NDArray[np.bool_], logits: Floats, buckets: Sequence[str], counts: Floats, variant: Variant
) -> tuple[dict[str, Floats], Floats]:
    """Return metric -> (R,) values, and (R, C) average precision per class.

    Args:
        labels, logits, counts, variant: as in `class_ap`.
        buckets: (C,) head, mid or tail.
    """
    ap = class_ap(labels, logits, counts, variant)
    names = np.asarray(buckets)
    values = {"map": _mean(ap)}
    values |= {f"ap_{name}": _mean(ap[:, names == name]) for name in BUCKETS}
    mean = values["map"]
    values["mid_ratio"] = np.divide(values["ap_mid"], mean, out=np.full_like(mean, np.nan), where=mean > 0)
    values |= _f1(labels, expit(logits) >= 0.5, counts, variant)
    total = counts.sum(axis=1, keepdims=True)
    rates = np.divide(counts @ labels, total, out=np.full((len(counts), labels.shape[1]), np.nan), where=total > 0)
    values["chance_map"] = _mean(np.where(rates > 0, rates, np.nan))
    return values, ap


def _f1(labels: NDArray[np.bool_], said: NDArray[np.bool_], counts: Floats, variant: Variant) -> dict[str, Floats]:
    both, either = counts @ (labels & said), counts @ (labels.astype(np.float64) + said)
    positive = counts @ labels
    per_class = np.divide(2 * both, either, out=np.full_like(both, np.nan), where=(either > 0) & (positive > 0))
    sums, hits = either.sum(axis=1), both.sum(axis=1)
    empty = 0.0 if variant == "paper" else np.nan
    overall = np.divide(2 * hits, sums, out=np.full_like(sums, empty), where=sums > 0)
    return {"of1": overall, "cf1": _mean(per_class)}


def _mean(values: Floats) -> Floats:
    """Mean over classes with a value, NaN without any."""
    known = ~np.isnan(values)
    number = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    mean: Floats = np.divide(total, number, out=np.full(len(values), np.nan), where=number > 0)
    return mean
