"""Instance grouping: T-mIoU and T-SR, the consistency of clusters with objects over the views that show them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probe.metrics.arrays import BoolArray, FloatArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant, check_variant
from probe.tasks.instance.clustering import NOISE, cluster_cells, count_clusters, upsample_labels
from probe.tasks.instance.overlap import collapsed_iou, compact, overlap_counts

__all__ = ["ObjectMatches", "instance_score", "match_objects", "score_embeddings"]

Background = Literal["excluded", "counted"]


@dataclass(frozen=True)
class ObjectMatches:
    """How well each object of a clip is covered by its cluster; one row per object for later breakdowns.

    Attributes:
        object_ids: (G,) ids of the objects, ascending.
        cluster_ids: (G,) id of the matched cluster, -1 when the clip has no cluster.
        view_iou: (G, S) IoU with the matched cluster per view, NaN in views that don't show the object.
        pixels: (G,) pixels of the object over all views.
        n_clusters: clusters on the pixels that count.
    """

    object_ids: NDArray[np.int64]
    cluster_ids: NDArray[np.int64]
    view_iou: NDArray[np.float64]
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
    """Give each object the cluster of highest IoU and measure the pair in every view.

    Greedy: several objects may take the same cluster. Ties go to the lowest cluster id. `standard` matches on the
    IoU of the (S, H, W) volumes. `paper` lays all views on top of each other first and compares the unions, which
    can pair an object with a cluster that never touches it.

    Args:
        prediction: (S, H, W) cluster ids, any integers, negative = noise.
        truth: (S, H, W) object ids, any integers.
        valid: (S, H, W) bool, pixels that count; all by default.
        background: `excluded` takes pixels of ignored ids out of every set, so that a cluster may leak onto
            unlabelled area at no cost (the published choice, kept because unlabelled is not the same as empty);
            `counted` leaves them in the unions.
        ignored: object ids that are no objects.
        variant: see above.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    check_variant(variant)
    require_array(
        truth, (None, None, None), "integer", "instance ids", fix="pass maps of all views; maps[None] for a single one"
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
        view_iou=np.where(visible, counts.view_iou(np.flatnonzero(present), match), np.nan),
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

    T-mIoU: IoU averaged over the views that show the object, then over objects. T-SR: share of objects with
    IoU >= `threshold` in every such view. Views that don't show an object are left out altogether.

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
    score = _summary(matches.view_iou, "", "n_objects", threshold, variant)
    if things is not None:
        require_array(things, (None,), "integer", "ids of things", fix="pass a flat array of object ids")
        chosen = np.isin(matches.object_ids, things)
        score |= _summary(matches.view_iou[chosen], "_things", "n_things", threshold, variant)
    return score


def _summary(view_iou: FloatArray, suffix: str, count: str, threshold: float, variant: Variant) -> ClipScore:
    keys = (f"t_miou{suffix}", f"t_sr{suffix}")
    if not len(view_iou):
        empty = 0.0 if variant == "paper" else math.nan
        return ClipScore.without_value(keys, "no objects", {count: 0}, value=empty)
    hidden = np.isnan(view_iou)
    miou = float(np.nanmean(view_iou, axis=1).mean())
    success = float(((view_iou >= threshold) | hidden).all(axis=1).mean())
    return ClipScore({keys[0]: miou, keys[1]: success}, {count: len(view_iou)})


def score_embeddings(
    embeddings: FloatArray,
    truth: IntArray,
    *,
    valid: BoolArray | None = None,
    things: IntArray | None = None,
    background: Background = "excluded",
    min_cluster_size: int = 30,
    min_samples: int = 5,
    variant: Variant = "standard",
) -> tuple[ClipScore, NDArray[np.int32]]:
    """Cluster the cells of a clip and score them against the instance masks.

    Args:
        embeddings: (S, h, w, D) head output.
        truth: (S, H, W) object ids, any integers, 0 = none.
        valid: (S, H, W) bool, pixels that count; all by default.
        things: (K,) ids for the things-only scores.
        background: see `match_objects`.
        min_cluster_size: see `cluster_cells`.
        min_samples: see `cluster_cells`.
        variant: see `match_objects` and `instance_score`.

    Returns:
        The score, with counts `n_clusters` (clusters at grid resolution) and `n_noise` (cells), and the
        (S, h, w) cluster ids for pictures.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
        NonFiniteError: an embedding is NaN or infinite.
    """
    labels = cluster_cells(embeddings, min_cluster_size=min_cluster_size, min_samples=min_samples)
    require_array(truth, (len(labels), None, None), "integer", "instance ids")
    upsampled = upsample_labels(labels, (truth.shape[1], truth.shape[2]))
    matches = match_objects(upsampled, truth, valid=valid, background=background, variant=variant)
    counts = ClipScore(counts={"n_clusters": count_clusters(labels), "n_noise": int((labels == NOISE).sum())})
    return instance_score(matches, things=things, variant=variant) | counts, labels
