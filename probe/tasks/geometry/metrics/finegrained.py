"""Where the point-map error comes from: by depth, by percentile, by distance in time from the reference query."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant

DEPTH_BINS = 10
"""Quantile bins of true depth."""
FRAME_BINS = 4
"""Equal-width bins of frame distance."""

_SMALL = 1e-9


def depth_bin_errors(distance: FloatArray, depth: FloatArray, mask: BoolArray, *, bins: int = DEPTH_BINS) -> ClipScore:
    """Mean point distance in quantile bins of true depth, near to far.

    Edges are linear quantiles of the masked depths; bins are [low, high), the last one closed. Both variants agree.

    Args:
        distance: (S, H, W) from `point_distances`.
        depth: (S, H, W) true depth.
        mask: (S, H, W) bool, pixels to use.
        bins: number of bins.

    Returns:
        `depth_bin_00_err`, ...; NaN for an empty bin; and the summaries `depth_bin_far_minus_near`,
        `_far_over_near`, `_mean`, `_var`.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    require_array(distance, (None, None, None), "float", "point distances")
    require_array(depth, distance.shape, "float", "true depths")
    require_array(mask, distance.shape, "bool", "mask")
    errors, depths = distance[mask].astype(np.float64), depth[mask].astype(np.float64)
    known = np.isfinite(errors) & np.isfinite(depths)
    errors, depths = errors[known], depths[known]
    means = np.full(bins, np.nan)
    if len(errors):
        edges = np.quantile(depths, np.linspace(0.0, 1.0, bins + 1))
        means = _bin_means(errors, depths, edges)
    return _bucket_score("depth_bin", [f"depth_bin_{index:02d}_err" for index in range(bins)], means)


def _bin_means(values: FloatArray, positions: FloatArray, edges: FloatArray) -> NDArray[np.float64]:
    """Mean of values per bin [edge, next edge); the last bin is closed, also if its lower edge repeats."""
    bins = len(edges) - 1
    index = np.searchsorted(edges, positions, side="right") - 1
    index[positions == edges[-1]] = bins - 1
    counts = np.bincount(index, minlength=bins)
    means = np.full(bins, np.nan)
    np.divide(np.bincount(index, values, minlength=bins), counts, out=means, where=counts > 0)
    return means


def error_percentiles(distance: FloatArray, mask: BoolArray) -> ClipScore:
    """`pmap_err_p50`, `_p90`, `_p99` (linear between pixels) and `pmap_err_p99_over_p50` on masked pixels.

    The ratio is undefined for a median up to 1e-9. Both variants agree.

    Args:
        distance: (S, H, W) from `point_distances`.
        mask: (S, H, W) bool, pixels to use.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    require_array(distance, (None, None, None), "float", "point distances")
    require_array(mask, distance.shape, "bool", "mask")
    errors = distance[mask].astype(np.float64)
    errors = errors[np.isfinite(errors)]
    keys = ("pmap_err_p50", "pmap_err_p90", "pmap_err_p99")
    if not len(errors):
        return ClipScore.without_value((*keys, "pmap_err_p99_over_p50"), "no masked pixel")
    values = dict(zip(keys, (float(value) for value in np.percentile(errors, (50, 90, 99))), strict=True))
    ratio = values["pmap_err_p99"] / values["pmap_err_p50"] if values["pmap_err_p50"] > _SMALL else math.nan
    reason = {"pmap_err_p99_over_p50": "median error is zero"} if math.isnan(ratio) else {}
    return ClipScore(values | {"pmap_err_p99_over_p50": ratio}, {}, reason)


def frame_distance_errors(
    distance: FloatArray,
    mask: BoolArray,
    frame_indices: IntArray | None,
    *,
    bins: int = FRAME_BINS,
    variant: Variant = "standard",
) -> ClipScore:
    """Mean point distance per query, averaged over queries equally far in time from the reference query.

    Buckets have equal width between the smallest and largest |index - index of query 0|, the last one closed. If all
    distances are equal, bucket 0 has the mean and the others nothing.

    Args:
        distance: (S, H, W) from `point_distances`.
        mask: (S, H, W) bool, pixels to use.
        frame_indices: (S,) integer, frames of the queries in the clip. The published code passes 0..S-1, the rank of
            the query: None does so, in `paper` only.
        bins: number of buckets.
        variant: a query without masked pixels is left out in `standard` and counts as error 0 in `paper`.

    Returns:
        `frame_dist_b0_err`, ... and summaries as in `depth_bin_errors`.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(distance, (None, None, None), "float", "point distances")
    require_array(mask, distance.shape, "bool", "mask")
    if frame_indices is None and variant == "paper":
        frame_indices = np.arange(len(distance))
    keys = [f"frame_dist_b{index}_err" for index in range(bins)]
    if frame_indices is None:
        return ClipScore.without_value(tuple(keys), "frame indices unknown")
    require_array(frame_indices, (len(distance),), "integer", "frame indices", fix="pass one frame per query")
    if mask.any() and not np.isfinite(distance[mask]).any():
        return _bucket_score("frame_dist", keys, np.full(bins, np.nan))
    used = mask & np.isfinite(distance)
    counts = used.sum(axis=(1, 2))
    sums = np.where(used, distance, 0.0).sum(axis=(1, 2))
    if variant == "paper":
        queries, known = sums / (counts + 1e-6), np.ones(len(counts), bool)
    else:
        queries, known = sums / np.maximum(counts, 1), counts > 0
    apart = np.abs(frame_indices.astype(np.int64) - int(frame_indices[0]))
    means = np.full(bins, np.nan)
    if known.any() and apart.min() == apart.max():
        means[0] = queries[known].mean()
    elif known.any():
        means = _bin_means(
            queries[known], apart[known].astype(np.float64), np.linspace(apart.min(), apart.max(), bins + 1)
        )
    return _bucket_score("frame_dist", keys, means)


def _bucket_score(family: str, keys: list[str], means: NDArray[np.float64]) -> ClipScore:
    """Bucket means and, with two of them or more, their summaries."""
    values = dict(zip(keys, means.tolist(), strict=True))
    undefined = {key: "empty bucket" for key, value in values.items() if math.isnan(value)}
    known = means[~np.isnan(means)]
    if len(known) >= 2:
        near, far = float(known[0]), float(known[-1])
        values[f"{family}_far_minus_near"] = far - near
        values[f"{family}_far_over_near"] = far / near if near > _SMALL else math.nan
        values[f"{family}_mean"] = float(known.mean())
        values[f"{family}_var"] = float(known.var())
        if near <= _SMALL:
            undefined[f"{family}_far_over_near"] = "nearest bucket has no error"
    return ClipScore(values, {}, undefined)
