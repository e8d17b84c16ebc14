"""Clusters next to the true instances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.dataset.reader import PreparedDataset
from probe import pictures
from probe.tasks.instance.clustering import upsample_labels
from probe.tasks.instance.metrics import match_objects


def draw_clip(dataset: PreparedDataset, prediction: dict[str, Any], folder: Path) -> None:
    """Write `pictures/<clip>.png`: frames, true instances, clusters in the colour of the largest object they cover."""
    clip_id, queries = prediction["clip_id"], prediction["queries"]
    truth = dataset.instance_maps(clip_id, queries).astype(np.int64)
    clusters = np.asarray(prediction["clusters"]).reshape(prediction["shape"])
    coloured = colour_by_object(clusters, truth)
    rows = {
        "frames": list(dataset.frames(clip_id, queries)),
        "true instances": list(pictures.label_colours(np.where(truth > 0, truth, -1))),
        "clusters (black: noise)": list(pictures.label_colours(coloured)),
    }
    pictures.save(pictures.sheet(clip_id, rows), folder / "pictures" / f"{clip_id}.png")


def colour_by_object(clusters: NDArray[Any], truth: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return clusters with the id of the largest object that they cover, so that both get one colour.

    Args:
        clusters: (S, h, w) ids, -1 noise.
        truth: (S, H, W) object ids, 0 none.

    Returns:
        (S, H, W): ids of objects, ids beyond them for clusters that match none, -1 noise.
    """
    shown = upsample_labels(clusters, (truth.shape[1], truth.shape[2])).astype(np.int64)
    matches = match_objects(shown, truth)
    coloured = np.where(shown >= 0, shown + int(truth.max()) + 1, -1)
    for order in np.argsort(matches.pixels):  # the largest object that a cluster covers gives it its colour
        if matches.cluster_ids[order] >= 0:
            coloured[shown == matches.cluster_ids[order]] = matches.object_ids[order]
    return coloured
