"""All geometry metrics of one clip in one call, and the pixels that they use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant
from probe.tasks.geometry.metrics.depth import depth_score
from probe.tasks.geometry.metrics.finegrained import depth_bin_errors, error_percentiles, frame_distance_errors
from probe.tasks.geometry.metrics.points import point_distances, pointmap_score
from probe.tasks.geometry.metrics.pose import pose_score


def confidence_mask(
    confidence: FloatArray | None,
    valid: BoolArray,
    *,
    quantile: float = 0.75,
    variant: Variant = "standard",
) -> BoolArray:
    """Pixels whose confidence reaches a quantile of the clip, all queries together.

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


@dataclass(frozen=True)
class ClipGeometry:
    """Geometry of the queries of a clip, predicted or true, in float32 or float64.

    Attributes:
        depth: (S, H, W) depth along the optical axis.
        points: (S, H, W, 3) points in one frame shared by all queries.
        world_to_camera: (S, 3, 4) [R | t].
    """

    depth: FloatArray
    points: FloatArray
    world_to_camera: FloatArray


def geometry_score(
    prediction: ClipGeometry,
    truth: ClipGeometry,
    *,
    confidence: FloatArray | None = None,
    valid: BoolArray | None = None,
    frame_indices: IntArray | None = None,
    variant: Variant = "standard",
) -> ClipScore:
    """Point-map error, depth family, pose metrics and fine-grained extras.

    Args:
        prediction: of the probe, as numpy arrays of at least float32 (never computed under autocast).
        truth: in units of the mean distance of the reference query's points, so that clips can be averaged.
        confidence: (S, H, W) of the ground truth; None for sensor depth: every valid pixel counts alike.
        valid: (S, H, W) bool, pixels with ground truth; all finite ones by default.
        frame_indices: (S,) integer, frames of the queries; needed by the frame-distance buckets in `standard`.
        variant: see each metric.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
        NonFiniteError: a true pose is not finite.
    """
    check_variant(variant)
    require_array(truth.depth, (None, None, None), "float", "true depths")
    require_array(truth.points, (*truth.depth.shape, 3), "float", "true points")
    shape = truth.depth.shape
    if confidence is not None:
        require_array(confidence, shape, "float", "confidences")
    if frame_indices is not None:
        require_array(frame_indices, shape[:1], "integer", "frame indices", fix="pass one frame per query")
    usable = usable_pixels(truth.depth, confidence, valid, shape) & np.isfinite(truth.points).all(axis=-1)
    if variant == "standard":
        usable &= truth.depth > 0  # a sensor writes 0 where it saw nothing; such pixels have no point either
    mask = confidence_mask(confidence, usable, variant=variant)
    distances = point_distances(prediction.points, truth.points, mask, usable, variant=variant)
    return (
        pointmap_score(distances, confidence, variant=variant)
        | depth_score(prediction.depth, truth.depth, mask, variant=variant)
        | pose_score(prediction.world_to_camera, truth.world_to_camera, variant=variant)
        | error_percentiles(distances.distance, mask)
        | depth_bin_errors(distances.distance, truth.depth, mask)
        | frame_distance_errors(
            distances.distance, mask, None if variant == "paper" else frame_indices, variant=variant
        )
    )
