"""What a scout of geometry regresses: the logarithm of the depth of pixels, on the features of their cells.

Depth is scored after one scale per clip, so the mean of each clip is taken from features and logarithms first. Pixels
and not cells are the samples, so that features of any grid are fitted to the same numbers and judged by the same
pixels, as the probe's depth maps are. Cameras and point maps have no closed form, and are not judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset.queries import clip_rng
from data.dataset.reader import PreparedDataset
from probe.scouting import Floats, Truth, at_pixels
from probe.task import Metric
from probe.tasks.geometry.metrics.depth import depth_score

METRICS = {
    "abs_rel": Metric("AbsRel", "lower", "ratio", high=None),
    "r2": Metric("R2 of log depth", "higher", low=-math.inf),
}
WITHIN_CLIPS = True
LIMIT = 30.0
"""Predicted logarithms are cut off here: a fit with too small a penalty gives large errors, not infinite ones."""


def truth(dataset: PreparedDataset, clip_id: str, queries: Sequence[int], pixels: int) -> Truth:
    """Return the depth (n,) of up to `pixels` pixels of known depth, drawn evenly over the queries' pixels."""
    depth = dataset.depth(clip_id, queries)
    known = np.flatnonzero(np.isfinite(depth) & (depth > 0))
    if len(known) > pixels:
        known = np.sort(clip_rng(0, 0, clip_id, "scout").choice(known, pixels, replace=False))
    places = np.stack(np.unravel_index(known, depth.shape), axis=1).astype(np.int64)
    return Truth(clip_id, depth.ravel()[known].astype(np.float64), places, (depth.shape[1], depth.shape[2]))


def regressors(features: NDArray[Any], truth: Truth) -> Floats:
    """Return the features (n, C) of the pixels' cells."""
    return at_pixels(features, truth)


def targets(truth: Truth) -> Floats:
    """Return the natural logarithm of depth, (n, 1)."""
    logs: Floats = np.log(truth.values)
    return logs[:, None]


def judge(predicted: Floats, truth: Truth) -> Floats:
    """Return AbsRel after median scaling, and the squares of the residuals and of the logarithms, (3,)."""
    logs, true = np.clip(predicted[:, 0], -LIMIT, LIMIT), np.log(truth.values)
    shape = (1, 1, len(true))
    found = depth_score(np.exp(logs).reshape(shape), truth.values.reshape(shape), np.ones(shape, bool))
    deviation = true - true.mean()
    residual = deviation - (predicted[:, 0] - predicted[:, 0].mean())
    return np.array([found.values["abs_rel"], (residual**2).sum(), (deviation**2).sum()])


def score(judged: Floats) -> Mapping[str, float]:
    """Return `abs_rel`, the mean over clips, and `r2`, the explained share of the variance inside clips."""
    abs_rel, residual, total = judged.T
    return {
        "abs_rel": float(abs_rel.mean()),
        "r2": 1 - float(residual.sum() / total.sum()) if total.any() else math.nan,
    }
