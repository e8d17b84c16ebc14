"""From one score per clip to one number per dataset, with counts of what was left out and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from probe.metrics.arrays import FloatArray
from probe.metrics.score import ClipScore


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


def clip_values(scores: Sequence[ClipScore], key: str) -> NDArray[np.float64]:
    """(N,) values of one metric, NaN for clips where it is undefined or was not computed."""
    return np.array([math.nan if key in clip.undefined else clip.values.get(key, math.nan) for clip in scores])


def mean_over_clips(
    scores: Sequence[ClipScore], *, weight_by: Mapping[str, str] | None = None
) -> dict[str, DatasetMean]:
    """Unweighted mean of every metric over the clips where it is defined.

    Args:
        scores: one per clip.
        weight_by: metric key -> key of the count to weigh its clips by, for example `{"t_miou": "n_objects"}`.

    Returns:
        metric key -> mean, keys in order of first appearance.

    Raises:
        ConfigError: a weight names a count that a clip doesn't have.
    """
    keys = dict.fromkeys(key for clip in scores for key in clip.values)
    means = {}
    for key in keys:
        values = clip_values(scores, key)
        used = ~np.isnan(values)
        weights = np.ones(len(values))
        if weight_by and key in weight_by:
            weights = np.array([_count(clip, weight_by[key]) for clip in scores], float)
        total = float(weights[used].sum())
        reasons = Counter(
            clip.undefined.get(key, "not computed") for clip, known in zip(scores, used, strict=True) if not known
        )
        value = float((weights * np.where(used, values, 0.0)).sum() / total) if total > 0 else math.nan
        means[key] = DatasetMean(value, int(used.sum()), int((~used).sum()), dict(reasons))
    return means


def _count(clip: ClipScore, key: str) -> int:
    if key not in clip.counts:
        raise ConfigError(
            "A weight names a count that the scores don't have",
            expected=" or ".join(clip.counts) or "no counts at all",
            found=key,
            where="weight_by",
        )
    return clip.counts[key]


def published_means(scores: Sequence[ClipScore], batch_size: int) -> dict[str, float]:
    """Mean over the dataset as the published loop logs its bucketed extras and depth metrics.

    Clips without a value are dropped inside their batch, yet the batch keeps its full weight; a batch without any
    value is left out. With every clip defined this is the plain mean.

    Args:
        scores: one per clip, in the order of evaluation.
        batch_size: clips per batch, the last one may be smaller.

    Raises:
        ConfigError: the batch size is not positive.
    """
    if batch_size < 1:
        raise ConfigError("The batch size must be positive", expected="1 or more", found=batch_size, where="batch_size")
    keys = dict.fromkeys(key for clip in scores for key in clip.values)
    return {key: _published_mean(clip_values(scores, key), batch_size) for key in keys}


def _published_mean(values: FloatArray, batch_size: int) -> float:
    total, weight = 0.0, 0
    for start in range(0, len(values), batch_size):
        batch = values[start : start + batch_size]
        known = batch[~np.isnan(batch)]
        if len(known):
            total += float(known.mean()) * len(batch)
            weight += len(batch)
    return total / weight if weight else math.nan


def mid_ratio_over_models(models: Sequence[Mapping[str, float]]) -> float:
    """Average Mid Ratio of several models: ratio per model first, then the mean, as in the published table.

    Args:
        models: values with `ap_mid` and `map` of each model.

    Returns:
        Mean ratio; NaN if a model's ratio is undefined.
    """
    ratios = [model["ap_mid"] / model["map"] if model["map"] > 0 else math.nan for model in models]
    return float(np.mean(ratios)) if ratios else math.nan
