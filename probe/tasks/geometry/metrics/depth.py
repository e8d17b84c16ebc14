"""The depth family: AbsRel, SqRel, RMSE, RMSE log, log10 and delta accuracies after one median scale per clip."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant

DEPTH_KEYS = ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "delta_1", "delta_2", "delta_3")
"""Keys of the values that `depth_score` returns."""

_FLOOR = 1e-6


def depth_score(
    prediction: FloatArray,
    truth: FloatArray,
    mask: BoolArray,
    *,
    scale: Literal["median", "none"] = "median",
    variant: Variant = "standard",
) -> ClipScore:
    """Depth metrics over the masked pixels of all queries together.

    The prediction is multiplied by median(truth) / median(prediction), one number per clip; no shift, no weights.

    Args:
        prediction: (S, H, W) depth.
        truth: (S, H, W) depth in the unit that SqRel and RMSE are to have.
        mask: (S, H, W) bool, pixels to score.
        scale: `none` leaves the prediction as it is.
        variant: `paper` raises prediction and truth to 1e-6 first, takes the lower of the two middle values as
            median and limits the scale to [1e-6, 1e6]. `standard` leaves out pixels without positive truth, takes
            the true median, and raises to 1e-6 after scaling (only logarithms and ratios need it).

    Returns:
        values `DEPTH_KEYS`; counts `depth_pixels` and `depth_nonpositive` (predictions). All NaN without pixels, for
        predictions that are not finite and, in `standard`, for predictions whose median is not positive.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(prediction, (None, None, None), "float", "predicted depths")
    require_array(truth, prediction.shape, "float", "true depths")
    require_array(mask, prediction.shape, "bool", "depth mask")
    predicted, true = prediction[mask].astype(np.float64), truth[mask].astype(np.float64)
    if variant == "standard":
        positive = np.isfinite(true) & (true > 0)
        predicted, true = predicted[positive], true[positive]
    counts = {"depth_pixels": len(true), "depth_nonpositive": int((predicted <= 0).sum())}
    if not len(true):
        return ClipScore.without_value(DEPTH_KEYS, "no pixel with depth", counts)
    if not np.isfinite(predicted).all() or not np.isfinite(true).all():
        return ClipScore.without_value(DEPTH_KEYS, "depths are not finite", counts)
    if variant == "paper":
        predicted, true = np.maximum(predicted, _FLOOR), np.maximum(true, _FLOOR)
    if scale == "median":
        middle = _lower_median(predicted) if variant == "paper" else float(np.median(predicted))
        if middle <= 0:
            return ClipScore.without_value(DEPTH_KEYS, "median of predicted depth is not positive", counts)
        ratio = (_lower_median(true) if variant == "paper" else float(np.median(true))) / middle
        predicted = predicted * (np.clip(ratio, _FLOOR, 1e6) if variant == "paper" else ratio)
    if variant == "standard":
        predicted = np.maximum(predicted, _FLOOR)
    return ClipScore(_errors(predicted, true), counts)


def _lower_median(values: FloatArray) -> float:
    """The lower of the two middle values for even counts, as torch's median."""
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def _errors(predicted: NDArray[np.float64], true: NDArray[np.float64]) -> dict[str, float]:
    difference = predicted - true
    logarithm = np.log(predicted) - np.log(true)
    worst = np.maximum(predicted / true, true / predicted)
    return {
        "abs_rel": float((np.abs(difference) / true).mean()),
        "sq_rel": float((difference**2 / true).mean()),
        "rmse": float(np.sqrt((difference**2).mean())),
        "rmse_log": float(np.sqrt((logarithm**2).mean())),
        "log10": float(np.abs(logarithm).mean() / np.log(10.0)),
        "delta_1": float((worst < 1.25).mean()),
        "delta_2": float((worst < 1.25**2).mean()),
        "delta_3": float((worst < 1.25**3).mean()),
    }
