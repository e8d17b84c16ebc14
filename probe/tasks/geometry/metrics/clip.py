"""All geometry metrics of one clip in one call."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant
from probe.tasks.geometry.metrics.depth import depth_score
from probe.tasks.geometry.metrics.finegrained import depth_bin_errors, error_percentiles, frame_distance_errors
from probe.tasks.geometry.metrics.masks import confidence_mask, usable_pixels
from probe.tasks.geometry.metrics.points import point_distances, pointmap_score
from probe.tasks.geometry.metrics.pose import pose_score

__all__ = ["ClipGeometry", "geometry_score"]


@dataclass(frozen=True)
class ClipGeometry:
    """Geometry of the views of a clip, predicted or true, in float32 or float64.

    Attributes:
        depth: (S, H, W) depth along the optical axis.
        points: (S, H, W, 3) points in one frame shared by all views.
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
        truth: in units of the mean distance of the reference view's points, so that clips can be averaged.
        confidence: (S, H, W) of the ground truth; None for sensor depth: every valid pixel counts alike.
        valid: (S, H, W) bool, pixels with ground truth; all finite ones by default.
        frame_indices: (S,) integer, frames of the views; needed by the frame-distance buckets in `standard`.
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
        require_array(frame_indices, shape[:1], "integer", "frame indices", fix="pass one frame per view")
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
