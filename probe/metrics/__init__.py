"""Metrics of the three probing tasks as pure functions: numpy arrays in, numbers out.

Every metric has two variants: `standard`, the corrected definition, and `paper`, the definition as published,
defects included. Nothing here imports torch or scikit-learn before a function needs it.

Arrays of numbers are NumPy arrays of the shape and kind of dtype that a docstring names: masks are bool, ids and
indices integers of any width, tag labels 0 or 1 of any of these, everything else floats of any width. Lists, tensors
and other dtypes are refused with `DatasetError`, never converted. Names (rooms of clips) come in any sequence.
"""

from __future__ import annotations

from probe.metrics.aggregate import (
    DatasetMean,
    clip_values,
    mean_over_clips,
    mid_ratio_over_models,
    published_means,
)
from probe.metrics.alignment import Similarity, align_similarity
from probe.metrics.ceiling import grid_ceiling, majority_labels
from probe.metrics.clustering import cluster_cells, count_clusters, upsample_labels
from probe.metrics.correction import holm
from probe.metrics.depth import depth_score
from probe.metrics.f1 import F1Scores, best_thresholds, f1_scores
from probe.metrics.finegrained import depth_bin_errors, error_percentiles, frame_distance_errors
from probe.metrics.geometry import ClipGeometry, geometry_score
from probe.metrics.instance import ObjectMatches, instance_score, match_objects, score_embeddings
from probe.metrics.masks import confidence_mask
from probe.metrics.names import METRICS, MetricInfo
from probe.metrics.points import PointDistances, point_distances, pointmap_score
from probe.metrics.pose import PairErrors, pair_errors, pose_auc, pose_score
from probe.metrics.score import ClipScore, Variant
from probe.metrics.statistics import (
    Interval,
    PairedDifference,
    bootstrap_mean,
    bootstrap_statistic,
    paired_difference,
    paired_statistic,
)
from probe.metrics.tagging import (
    TaggingScore,
    average_precision,
    bucket_means,
    frequency_buckets,
    presence_labels,
    tagging_score,
)

__all__ = [
    "METRICS",
    "ClipGeometry",
    "ClipScore",
    "DatasetMean",
    "F1Scores",
    "Interval",
    "MetricInfo",
    "ObjectMatches",
    "PairErrors",
    "PairedDifference",
    "PointDistances",
    "Similarity",
    "TaggingScore",
    "Variant",
    "align_similarity",
    "average_precision",
    "best_thresholds",
    "bootstrap_mean",
    "bootstrap_statistic",
    "bucket_means",
    "clip_values",
    "cluster_cells",
    "confidence_mask",
    "count_clusters",
    "depth_bin_errors",
    "depth_score",
    "error_percentiles",
    "f1_scores",
    "frame_distance_errors",
    "frequency_buckets",
    "geometry_score",
    "grid_ceiling",
    "holm",
    "instance_score",
    "majority_labels",
    "match_objects",
    "mean_over_clips",
    "mid_ratio_over_models",
    "pair_errors",
    "paired_difference",
    "paired_statistic",
    "point_distances",
    "pointmap_score",
    "pose_auc",
    "pose_score",
    "presence_labels",
    "published_means",
    "score_embeddings",
    "tagging_score",
    "upsample_labels",
]
