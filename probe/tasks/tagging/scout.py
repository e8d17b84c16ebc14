"""What a scout of tagging regresses: which classes the queries show, on the mean of their features.

As in the probe, a class is present if it has enough pixels in the queries. Classes are 0 or 1, clips are ranked by the
predicted numbers, and the score is the mean average precision over the clips of a split.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from data.dataset.reader import PreparedDataset
from data.dataset.targets import tag_labels
from probe.scouting import Floats, Truth, pooled
from probe.task import Metric
from probe.tasks.tagging.metrics import average_precision

METRICS = {"map": Metric("mAP", "higher")}
WITHIN_CLIPS = False


def truth(dataset: PreparedDataset, clip_id: str, queries: Sequence[int], pixels: int) -> Truth:
    """Return one sample per clip, whose values (1, classes) are 0 or 1.

    Raises:
        ConfigError: the dataset has no classes.
    """
    if not dataset.class_names:
        raise ConfigError("this dataset has no classes", fix="scout another task, or import it with annotations")
    return Truth(clip_id, tag_labels(dataset.class_pixels(clip_id, queries), dataset.gt_size(clip_id))[None])


def regressors(features: NDArray[Any], truth: Truth) -> Floats:
    """Return the mean over queries and cells, (1, C), of features (S, h, w, C)."""
    return pooled(features)


def targets(truth: Truth) -> Floats:
    """Return the labels (1, classes)."""
    return np.asarray(truth.values, np.float64)


def judge(predicted: Floats, truth: Truth) -> Floats:
    """Return predictions and labels of a clip, one after the other, (2 classes,)."""
    return np.concatenate([predicted[0], targets(truth)[0]])


def score(judged: Floats) -> Mapping[str, float]:
    """Return `map`, the mean average precision over classes with a positive, from (clips, 2 classes)."""
    predicted, labels = np.split(judged, 2, axis=1)
    precision = average_precision(labels, predicted)
    return {"map": float(np.nanmean(precision)) if np.isfinite(precision).any() else np.nan}
