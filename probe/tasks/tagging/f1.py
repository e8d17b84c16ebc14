"""F1 of tagging decisions: per class, averaged over classes (CF1) and over all decisions (OF1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, require_array
from probe.metrics.score import Variant, check_variant

__all__ = ["THRESHOLD_GRID", "F1Scores", "best_thresholds", "f1_scores"]

THRESHOLD_GRID: NDArray[np.float64] = np.linspace(0.05, 0.95, 19)
"""Candidate thresholds of `best_thresholds`, as published."""

_FIX = "pass one row per clip and one column per class, the same for labels and probabilities"


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
    require_array(labels, (None, None), "bool", "labels", fix=_FIX)
    require_array(probabilities, labels.shape, "float", "probabilities", fix=_FIX)
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


def best_thresholds(
    labels: BoolArray, probabilities: FloatArray, grid: FloatArray = THRESHOLD_GRID
) -> NDArray[np.float64]:
    """Threshold of best F1 per class on a grid; the first maximum wins.

    Choose thresholds on the selection split and score the report split with them, never on the same clips.

    Args:
        labels: (N, C) bool.
        probabilities: (N, C) in [0, 1].
        grid: (K,) candidates.

    Returns:
        (C,) threshold, NaN for a class without positives.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    require_array(grid, (None,), "float", "grid of thresholds", fix="pass a flat array of candidates")
    f1 = np.stack([f1_scores(labels, probabilities, float(value)).per_class for value in grid])
    present = labels.any(axis=0)
    return np.where(present, grid[np.argmax(np.where(present, f1, 0.0), axis=0)], np.nan)
