"""Which pixels the geometry metrics rest on: the most confident quarter of a clip."""

from __future__ import annotations

import numpy as np

from probe.metrics.arrays import BoolArray, FloatArray, require_array
from probe.metrics.score import Variant, check_variant

__all__ = ["confidence_mask", "usable_pixels"]


def confidence_mask(
    confidence: FloatArray | None,
    valid: BoolArray,
    *,
    quantile: float = 0.75,
    variant: Variant = "standard",
) -> BoolArray:
    """Pixels whose confidence reaches a quantile of the clip, all views together.

    With the default the top quarter; all pixels when confidences are equal. `paper` takes the quantile over every
    pixel of the clip and cuts the invalid ones away afterwards; `standard` takes it over valid pixels only.

    Args:
        confidence: (S, H, W) of the ground truth; None for sensors without one: all valid pixels.
        valid: (S, H, W) bool, pixels that have ground truth (and belong to the foreground, if there is one).
        quantile: in [0, 1], linear between pixels.
        variant: see above.

    Returns:
        (S, H, W) bool.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(valid, (None, None, None), "bool", "valid mask")
    if confidence is None:
        return valid.copy()
    require_array(confidence, valid.shape, "float", "confidences")
    basis = confidence.ravel() if variant == "paper" else confidence[valid]
    if basis.size == 0:
        return np.zeros(valid.shape, bool)
    return (confidence >= np.quantile(basis, quantile)) & valid


def usable_pixels(
    truth: FloatArray, confidence: FloatArray | None, valid: BoolArray | None, shape: tuple[int, ...]
) -> BoolArray:
    """Valid pixels whose ground truth and confidence are finite.

    Args:
        truth: (S, H, W) depth or (S, H, W, 3) points.
        confidence: (S, H, W) or None.
        valid: (S, H, W) bool, or None for all.
        shape: (S, H, W).
    """
    finite: BoolArray = np.asarray(np.isfinite(truth) if truth.ndim == 3 else np.isfinite(truth).all(axis=-1))
    if valid is not None:
        require_array(valid, shape, "bool", "valid mask")
        finite = finite & valid
    return finite if confidence is None else np.asarray(finite & np.isfinite(confidence))
