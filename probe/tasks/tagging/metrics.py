"""Semantic tagging: average precision per class, its means over frequency buckets, and F1 of decisions.

Labels are (N, C) in {0, 1}, scores (N, C) raw logits, one row per clip of the whole split: everything is computed once
over the pooled set, never averaged over batches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError, NonFiniteError
from probe.metrics.arrays import BoolArray, FloatArray, IntArray, NumberArray, require_array
from probe.metrics.score import Variant, check_variant

_F1_FIX = "pass one row per clip and one column per class, the same for labels and probabilities"


@dataclass(frozen=True)
class F1Scores:
    """F1 scores of one split.

    Attributes:
        of1: 2TP / (2TP + FP + FN) over all N x C decisions.
        cf1: mean of `per_class` over classes with a positive; NaN without any.
        per_class: (C,) F1, NaN for a class without positives.
        thresholds: (C,) threshold used, NaN for a class without positives.
    """

    of1: float
    cf1: float
    per_class: FloatArray
    thresholds: FloatArray


def f1_scores(
    labels: BoolArray,
    probabilities: FloatArray,
    thresholds: float | FloatArray = 0.5,
    *,
    variant: Variant = "standard",
) -> F1Scores:
    """F1 with decisions `probability >= threshold`, the threshold itself included.

    OF1 counts the false positives of classes that have no positive. With no positive label and no positive
    decision at all it is undefined: NaN in `standard`, 0 in `paper`.

    Args:
        labels: (N, C) bool.
        probabilities: (N, C) in [0, 1].
        thresholds: one for all classes, or (C,) float.
        variant: see above.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(labels, (None, None), "bool", "labels", fix=_F1_FIX)
    require_array(probabilities, labels.shape, "float", "probabilities", fix=_F1_FIX)
    n_classes = labels.shape[1]
    if not isinstance(thresholds, float | int | np.floating):
        require_array(thresholds, (n_classes,), "float", "thresholds", fix="pass one threshold, or one per class")
    threshold = np.broadcast_to(np.asarray(thresholds, np.float64), (n_classes,))
    decided = probabilities >= threshold
    hits, decisions, positives = (labels & decided).sum(axis=0), decided.sum(axis=0), labels.sum(axis=0)
    present = positives > 0
    # 2TP + FP + FN = decisions + positives, class by class
    per_class = np.divide(2.0 * hits, decisions + positives, out=np.full(n_classes, np.nan), where=present)
    total = int(decisions.sum() + positives.sum())
    empty = 0.0 if variant == "paper" else math.nan
    return F1Scores(
        of1=2.0 * float(hits.sum()) / total if total else empty,
        cf1=float(per_class[present].mean()) if present.any() else math.nan,
        per_class=per_class,
        thresholds=np.where(present, threshold, np.nan),
    )


_FIX = "pass one row per clip and one column per class, the same for labels and scores"


@dataclass(frozen=True)
class TaggingScore:
    """Scores of a whole split.

    Attributes:
        values: `map`, `ap_head`, `ap_mid`, `ap_tail`, `mid_ratio`, `of1`, `cf1`; NaN where undefined.
        ap: (C,) average precision per class, NaN without positives.
        f1: (C,) F1 per class at its threshold, NaN without positives.
        thresholds: (C,) probability threshold per class, NaN without positives.
        n_positives: (C,) positives per class.
        buckets: (C,) 0 head, 1 mid, 2 tail.
    """

    values: dict[str, float]
    ap: FloatArray
    f1: FloatArray
    thresholds: FloatArray
    n_positives: NDArray[np.int64]
    buckets: NDArray[np.int64]


def probabilities_of(logits: FloatArray) -> FloatArray:
    """Return the sigmoid of logits of any shape: float64 in [0, 1], same shape."""
    from scipy.special import expit

    return np.asarray(expit(np.asarray(logits, np.float64)), np.float64)


def ranking_scores(logits: FloatArray, *, variant: Variant = "standard") -> FloatArray:
    """Numbers that clips are ranked by.

    The published code ranks sigmoid probabilities, in which large logits tie; logits themselves don't.
    """
    logits = np.asarray(logits, np.float64)
    return probabilities_of(logits) if variant == "paper" else logits


def average_precision(labels: NumberArray, scores: FloatArray, *, variant: Variant = "standard") -> NDArray[np.float64]:
    """Average precision of each class: the step integral of precision over recall.

    `standard` takes one step per distinct score (equal to scikit-learn's `average_precision_score`); `paper` one
    step per clip, so that clips of equal score keep the order of the file.

    Args:
        labels: (N, C) 0 or 1, as bool, integer or float.
        scores: (N, C) float, finite logits.
        variant: see above.

    Returns:
        (C,) in [0, 1]; NaN for a class without positives.

    Raises:
        DatasetError: shapes differ, a dtype is wrong, or labels are not 0 or 1.
        NonFiniteError: a score is NaN or infinite.
    """
    check_variant(variant)
    positive = _checked(labels, scores)
    n_clips, n_classes = positive.shape
    if n_clips == 0:
        return np.full(n_classes, np.nan)
    ranked = ranking_scores(scores, variant=variant)
    order = np.argsort(-ranked, axis=0, kind="stable")
    hit = np.take_along_axis(positive, order, axis=0)
    true_positives = np.cumsum(hit, axis=0)
    rank = np.arange(1, n_clips + 1)[:, None]
    precision = true_positives / rank
    if variant == "standard":
        precision = np.take_along_axis(precision, _end_of_tie(np.take_along_axis(ranked, order, axis=0)), axis=0)
    n_positives = true_positives[-1]
    total = (precision * hit).sum(axis=0)
    ap = np.full(n_classes, np.nan)
    np.divide(total, n_positives, out=ap, where=n_positives > 0)
    return ap


def _end_of_tie(descending: FloatArray) -> NDArray[np.int64]:
    """Index of the last row that has the same score, for every row of every column."""
    last = len(descending) - 1
    index = np.full(descending.shape, last)
    index[:-1] = np.where(descending[:-1] != descending[1:], np.arange(last)[:, None], last)
    return np.minimum.accumulate(index[::-1], axis=0)[::-1]


def _checked(labels: NumberArray, scores: FloatArray) -> BoolArray:
    require_array(labels, (None, None), "number", "labels", fix=_FIX)
    require_array(scores, labels.shape, "float", "scores", fix=_FIX)
    if not np.isin(labels, (0, 1)).all():
        raise DatasetError("Tag labels must be 0 or 1", expected="0 or 1", found=np.unique(labels)[:5], where="labels")
    if not np.isfinite(scores).all():
        raise NonFiniteError(
            "Tag scores contain NaN or infinite values",
            expected="finite scores",
            found=f"{int((~np.isfinite(scores)).sum())} of {np.size(scores)} not finite",
            where="scores",
            fix="lower recipe.lr= or set recipe.precision=float32 and train the probe again",
        )
    return labels.astype(bool)


def frequency_buckets(train_positive_rate: FloatArray | None) -> NDArray[np.int64]:
    """Head, mid and tail thirds of the classes, by their frequency in the training split.

    A rank cut: with k = max(1, floor(C / 3)) the k most frequent classes are head, the next k mid, the rest tail.
    Equal rates keep the order of the classes.

    Args:
        train_positive_rate: (C,) share of training clips that show the class, in [0, 1].

    Returns:
        (C,) 0 head, 1 mid, 2 tail.

    Raises:
        MissingError: no rates. Rates of the evaluation labels would silently change what the buckets mean.
        NonFiniteError: a rate is NaN.
        DatasetError: not an array (C,) of floats, or a rate lies outside [0, 1].
    """
    fix = "make data DATASET=<name> writes the positive rates of the training split next to the index"
    if train_positive_rate is None:
        raise MissingError("The positive rates of the training split are missing", where="train_positive_rate", fix=fix)
    require_array(train_positive_rate, (None,), "float", "positive rates", fix="pass one rate per class")
    rate = np.asarray(train_positive_rate, np.float64)
    if not np.isfinite(rate).all():
        raise NonFiniteError("A positive rate is not finite", found=rate, where="train_positive_rate", fix=fix)
    if ((rate < 0) | (rate > 1)).any():
        raise DatasetError("A positive rate is not a share of clips", expected="[0, 1]", found=rate, fix=fix)
    third = max(1, len(rate) // 3)
    buckets = np.empty(len(rate), np.int64)
    buckets[np.argsort(-rate, kind="stable")] = np.minimum(np.arange(len(rate)) // third, 2)
    return buckets


def bucket_means(ap: FloatArray, buckets: IntArray) -> dict[str, float]:
    """`map`, `ap_head`, `ap_mid`, `ap_tail` and `mid_ratio` from average precision per class.

    Means are over classes with a value; NaN when there is none. Mid Ratio is AP_mid / mAP of one model; an average
    over models is the mean of ratios, not the ratio of means.

    Args:
        ap: (C,) average precision, NaN without positives.
        buckets: (C,) integer, 0 head, 1 mid, 2 tail.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    require_array(ap, (None,), "float", "average precisions", fix="pass one value per class")
    require_array(buckets, ap.shape, "integer", "buckets", fix="pass one bucket per class")
    values = {"map": _mean(ap)}
    values |= {f"ap_{name}": _mean(ap[buckets == index]) for index, name in enumerate(("head", "mid", "tail"))}
    values["mid_ratio"] = values["ap_mid"] / values["map"] if values["map"] > 0 else math.nan
    return values


def _mean(values: FloatArray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def tagging_score(
    labels: NumberArray,
    scores: FloatArray,
    train_positive_rate: FloatArray | None,
    *,
    variant: Variant = "standard",
    thresholds: float | FloatArray = 0.5,
) -> TaggingScore:
    """All tagging metrics of a split.

    Args:
        labels: (N, C) 0 or 1, as bool, integer or float.
        scores: (N, C) float logits.
        train_positive_rate: (C,) for the buckets; required.
        variant: definition of average precision and of F1 without any positive.
        thresholds: probability threshold of F1, one for all or (C,) float.

    Raises:
        MissingError, NonFiniteError, DatasetError: see `average_precision` and `frequency_buckets`.
    """
    buckets = frequency_buckets(train_positive_rate)
    require_array(labels, (None, len(buckets)), "number", "labels", fix="pass one positive rate per class")
    ap = average_precision(labels, scores, variant=variant)
    positive = labels.astype(bool)
    f1 = f1_scores(positive, probabilities_of(scores), thresholds, variant=variant)
    return TaggingScore(
        values=bucket_means(ap, buckets) | {"of1": f1.of1, "cf1": f1.cf1},
        ap=ap,
        f1=f1.per_class,
        thresholds=f1.thresholds,
        n_positives=positive.sum(axis=0).astype(np.int64),
        buckets=buckets,
    )
