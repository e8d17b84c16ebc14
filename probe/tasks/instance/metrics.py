"""Instance grouping: T-mIoU and T-SR, the consistency of clusters with objects over the queries that show them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant

NOISE = -1
"""Label of cells that belong to no cluster."""

Background = Literal["excluded", "counted"]

_LARGEST_TABLE = 1 << 20
_CHUNK = 1 << 16


def compact(ids: IntArray, dropped: BoolArray) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Number the ids of a map 0..K-1 in ascending order; dropped pixels get K.

    Returns:
        (K,) the ids, and a map of the shape of `ids`.
    """
    kept = ids[~dropped]
    if kept.size == 0:
        return np.zeros(0, np.int64), np.zeros(ids.shape, np.int32)
    lowest, highest = int(kept.min()), int(kept.max())
    if highest - lowest < _LARGEST_TABLE:  # a table instead of a sort: ten times faster on megapixel masks
        present = np.bincount(kept.ravel().astype(np.int64) - lowest) > 0
        values = np.flatnonzero(present) + lowest
        table = (np.cumsum(present) - 1).astype(np.int32)
        index = table[np.where(dropped, lowest, ids).astype(np.int64) - lowest]
    else:
        values, inverse = np.unique(kept, return_inverse=True)
        values = values.astype(np.int64)
        index = np.zeros(ids.shape, np.int32)
        index[~dropped] = inverse
    index[dropped] = len(values)
    return values, index


@dataclass(frozen=True)
class OverlapCounts:
    """Pixels per query that objects and clusters have, alone and in common.

    Attributes:
        common: (S, G, P) pixels that belong to object g and cluster p.
        objects: (S, G) pixels of each object.
        clusters: (S, P) pixels of each cluster.
    """

    common: NDArray[np.int64]
    objects: NDArray[np.int64]
    clusters: NDArray[np.int64]

    def volume_iou(self) -> NDArray[np.float64]:
        """(G, P) IoU over all queries together; 0 where both are empty."""
        common = self.common.sum(axis=0)
        union = self.objects.sum(axis=0)[:, None] + self.clusters.sum(axis=0) - common
        return np.asarray(common / np.maximum(union, 1), np.float64)

    def query_iou(self, objects: NDArray[np.int64], clusters: NDArray[np.int64]) -> NDArray[np.float64]:
        """(K, S) IoU of the K pairs in each query; 0 where both are empty."""
        common = self.common[:, objects, clusters]
        union = self.objects[:, objects] + self.clusters[:, clusters] - common
        return np.asarray(common / np.maximum(union, 1), np.float64).T


def overlap_counts(
    objects: NDArray[np.int32], clusters: NDArray[np.int32], keep: BoolArray, n_objects: int, n_clusters: int
) -> OverlapCounts:
    """Count overlaps per query from compact maps (S, H, W), on the pixels of `keep` only."""
    queries = len(objects)
    cells = (n_objects + 1) * (n_clusters + 1)
    counts = np.empty((queries, cells), np.int64)
    for query in range(queries):
        code = objects[query][keep[query]].astype(np.int64) * (n_clusters + 1) + clusters[query][keep[query]]
        counts[query] = np.bincount(code, minlength=cells)
    table = counts.reshape(queries, n_objects + 1, n_clusters + 1)
    return OverlapCounts(
        common=table[:, :n_objects, :n_clusters],
        objects=table[:, :n_objects].sum(axis=2),
        clusters=table[:, :, :n_clusters].sum(axis=1),
    )


def collapsed_iou(
    objects: NDArray[np.int32], clusters: NDArray[np.int32], keep: BoolArray, n_objects: int, n_clusters: int
) -> NDArray[np.float64]:
    """(G, P) IoU of unions over queries as positions in the image plane, as if overlaid: the published match."""
    above, below = _footprints(objects, keep, n_objects), _footprints(clusters, keep, n_clusters)
    common = np.zeros((n_objects, n_clusters), np.float64)
    for start in range(0, above.shape[1], _CHUNK):  # exact: counts in a chunk stay far below 2**24
        part = slice(start, start + _CHUNK)
        common += above[:, part].astype(np.float32) @ below[:, part].astype(np.float32).T
    union = above.sum(axis=1)[:, None] + below.sum(axis=1) - common
    return np.asarray(common / np.maximum(union, 1), np.float64)


def _footprints(ids: NDArray[np.int32], keep: BoolArray, count: int) -> BoolArray:
    """(count, H * W) positions that an id covers in at least one query."""
    plane = np.zeros((count + 1, ids[0].size), bool)
    positions = np.arange(ids[0].size).reshape(ids.shape[1:])
    for query in range(len(ids)):
        plane[ids[query][keep[query]], positions[keep[query]]] = True
    return plane[:count]


@dataclass(frozen=True)
class ObjectMatches:
    """How well each object of a clip is covered by its cluster; one row per object for later breakdowns.

    Attributes:
        object_ids: (G,) ids of the objects, ascending.
        cluster_ids: (G,) id of the matched cluster, -1 when the clip has no cluster.
        query_iou: (G, S) IoU with the matched cluster per query, NaN in queries that don't show the object.
        pixels: (G,) pixels of the object over all queries.
        n_clusters: clusters on the pixels that count.
    """

    object_ids: NDArray[np.int64]
    cluster_ids: NDArray[np.int64]
    query_iou: NDArray[np.float64]
    pixels: NDArray[np.int64]
    n_clusters: int


def match_objects(
    prediction: IntArray,
    truth: IntArray,
    *,
    valid: BoolArray | None = None,
    background: Background = "excluded",
    ignored: tuple[int, ...] = (0,),
    variant: Variant = "standard",
) -> ObjectMatches:
    """Give each object the cluster of highest IoU and measure the pair in every query.

    Greedy: several objects may take the same cluster. Ties go to the lowest cluster id. `standard` matches on the
    IoU of the (S, H, W) volumes. `paper` overlays all queries first and compares the unions, which
    can pair an object with a cluster that never touches it.

    Args:
        prediction: (S, H, W) cluster ids, any integers, negative = noise.
        truth: (S, H, W) object ids, any integers.
        valid: (S, H, W) bool, pixels that count; all by default.
        background: `excluded` takes pixels of ignored ids out of every set, so that a cluster may leak onto
            unlabelled area at no cost (the published choice, kept because unlabelled is not the same as empty);
            `counted` leaves them in the unions.
        ignored: object ids that aren't objects.
        variant: see above.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(
        truth,
        (None, None, None),
        "integer",
        "instance ids",
        fix="pass maps of all queries; maps[None] for a single one",
    )
    require_array(
        prediction,
        truth.shape,
        "integer",
        "cluster ids",
        fix="pass upsample_labels(cluster_ids, instance_ids.shape[1:])",
    )
    if valid is not None:
        require_array(valid, truth.shape, "bool", "valid mask")
    object_ids, objects = compact(truth, np.isin(truth, ignored))
    cluster_ids, clusters = compact(prediction, prediction < 0)
    keep = np.ones(truth.shape, bool) if valid is None else valid
    if background == "excluded":
        keep = keep & (objects < len(object_ids))
    counts = overlap_counts(objects, clusters, keep, len(object_ids), len(cluster_ids))
    # ids that only occur on pixels that don't count are neither objects nor clusters
    present, active = counts.objects.sum(axis=0) > 0, counts.clusters.sum(axis=0) > 0
    visible = counts.objects[:, present].T > 0
    pixels = counts.objects[:, present].sum(axis=0)
    if not active.any():
        iou = np.where(visible, 0.0, np.nan)
        return ObjectMatches(object_ids[present], np.full(present.sum(), NOISE), iou, pixels, 0)
    if variant == "paper":
        quality = collapsed_iou(objects, clusters, keep, len(object_ids), len(cluster_ids))
    else:
        quality = counts.volume_iou()
    candidates = np.flatnonzero(active)
    match = candidates[np.argmax(quality[np.ix_(present, active)], axis=1)] if present.any() else candidates[:0]
    return ObjectMatches(
        object_ids=object_ids[present],
        cluster_ids=cluster_ids[match],
        query_iou=np.where(visible, counts.query_iou(np.flatnonzero(present), match), np.nan),
        pixels=pixels,
        n_clusters=int(active.sum()),
    )


def instance_score(
    matches: ObjectMatches,
    *,
    things: IntArray | None = None,
    threshold: float = 0.5,
    variant: Variant = "standard",
) -> ClipScore:
    """T-mIoU and T-SR of one clip, over all objects and, if `things` is given, over those objects only.

    T-mIoU: IoU averaged over the queries that show the object, then over objects. T-SR: share of objects with
    IoU >= `threshold` in every such query. Queries that don't show an object are left out altogether.

    Args:
        matches: from `match_objects`.
        things: (K,) ids of countable objects (no walls, floors, ceilings). Other objects keep their pixels in unions.
        threshold: inclusive.
        variant: a clip without objects is NaN in `standard` and 0 in `paper`; both leave it out of means.

    Returns:
        values `t_miou`, `t_sr` and, with `things`, `t_miou_things`, `t_sr_things`; counts `n_objects`, `n_things`.

    Raises:
        DatasetError: `things` is not a flat array of integers.
    """
    check_variant(variant)
    score = _summary(matches.query_iou, "", "n_objects", threshold, variant)
    if things is not None:
        require_array(things, (None,), "integer", "ids of things", fix="pass a flat array of object ids")
        chosen = np.isin(matches.object_ids, things)
        score |= _summary(matches.query_iou[chosen], "_things", "n_things", threshold, variant)
    return score


def _summary(query_iou: FloatArray, suffix: str, count: str, threshold: float, variant: Variant) -> ClipScore:
    keys = (f"t_miou{suffix}", f"t_sr{suffix}")
    if not len(query_iou):
        empty = 0.0 if variant == "paper" else math.nan
        return ClipScore.without_value(keys, "no objects", {count: 0}, value=empty)
    hidden = np.isnan(query_iou)
    miou = float(np.nanmean(query_iou, axis=1).mean())
    success = float(((query_iou >= threshold) | hidden).all(axis=1).mean())
    return ClipScore({keys[0]: miou, keys[1]: success}, {count: len(query_iou)})
