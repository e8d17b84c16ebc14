"""What a scout of instance grouping regresses: a random code per instance, on the features of pixels' cells.

Instances have no classes and no order, so nothing can be predicted of those of a new clip. What can be learned is a
metric: under which linear map cells of one instance lie close together and those of others far apart. Regression on
indicators of the training instances gives that map in closed form; it is linear discriminant analysis (Hastie, Buja and
Tibshirani 1995, Penalized Discriminant Analysis). A training split has too many instances for one column each, so that
their indicators, divided by the root of their number of samples, are projected to `CODE` random columns, which keeps
distances (Johnson and Lindenstrauss 1984). The mean of each clip is taken from features and codes first: only instances
of one clip are held apart. The map is judged by pairs of pixels of new clips: how often two pixels of one instance are
closer than two of different ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset.queries import clip_rng
from data.dataset.reader import PreparedDataset
from data.dataset.targets import sample_pixels
from probe.scouting import Floats, Truth, at_pixels
from probe.task import Metric

METRICS = {"pair_auc": Metric("AUC of pairs", "higher")}
WITHIN_CLIPS = True
CODE = 32
"""Columns of the codes."""
JUDGED = 128
"""Pixels of a clip whose pairs are judged; all pairs of more would take longer than the fit."""


def truth(dataset: PreparedDataset, clip_id: str, queries: Sequence[int], pixels: int) -> Truth:
    """Return the instance ids (n,) of up to `pixels` annotated pixels, drawn evenly over the queries' pixels."""
    maps = dataset.instance_maps(clip_id, queries)
    count = min(pixels, int(np.count_nonzero(maps)))
    drawn = sample_pixels(maps, count, clip_rng(0, 0, clip_id, "scout"))
    return Truth(clip_id, drawn.ids, drawn.coordinates, (maps.shape[1], maps.shape[2]))


def regressors(features: NDArray[Any], truth: Truth) -> Floats:
    """Return the features (n, C) of the pixels' cells."""
    return at_pixels(features, truth)


def targets(truth: Truth) -> Floats:
    """Return the codes of the samples' instances, (n, CODE): standard normal, over the root of their samples."""
    ids, which, count = np.unique(truth.values, return_inverse=True, return_counts=True)
    codes = [clip_rng(0, int(number), truth.clip_id, "scout codes").standard_normal(CODE) for number in ids]
    return (np.stack(codes) / np.sqrt(count)[:, None])[which]


def judge(predicted: Floats, truth: Truth) -> Floats:
    """Return how often a pair of one instance is closer than a pair of two, (1,); NaN without pairs of both kinds."""
    step = -(-len(truth) // JUDGED)
    points, ids = predicted[::step], np.asarray(truth.values)[::step]
    first, second = np.triu_indices(len(ids), 1)
    squares = (points**2).sum(axis=1)
    distances = (squares[:, None] + squares - 2 * points @ points.T)[first, second]
    return np.array([_auc(distances, ids[first] == ids[second])])


def score(judged: Floats) -> Mapping[str, float]:
    """Return `pair_auc`, the mean over clips that have pairs of both kinds."""
    known = judged[np.isfinite(judged)]
    return {"pair_auc": float(known.mean()) if len(known) else np.nan}


def _auc(distances: Floats, same: NDArray[np.bool_]) -> float:
    """Return the share of (same, different) couples of pairs whose distances are in the right order, ties half."""
    near, far = np.sort(distances[same]), np.sort(distances[~same])
    if not len(near) or not len(far):
        return np.nan
    farther = 2.0 * len(far) - np.searchsorted(far, near, "left") - np.searchsorted(far, near, "right")
    return float(farther.mean() / (2 * len(far)))
