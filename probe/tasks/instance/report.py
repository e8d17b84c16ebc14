"""Clusters next to true instances, in the colour of the object that they cover."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from data.dataset.reader import PreparedDataset
from probe.pictures import label_colours
from probe.report.page.document import Block, Gallery, Strip
from probe.report.page.labels import Sources
from probe.report.pictures.choice import ShownRun, predicted_clips, prediction
from probe.report.pictures.encode import frame_image, map_image
from probe.tasks.instance.pictures import colour_by_object

MAX_QUERIES = 3


def clip_block(sources: Sources, dataset: PreparedDataset, clip_id: str, runs: Sequence[ShownRun]) -> Block:
    """Return frames, true instances, and the clusters of each source for a clip."""
    shown = [run for run in runs if clip_id in predicted_clips(run)]
    queries = [int(v) for v in prediction(shown[0], clip_id)["queries"]][:MAX_QUERIES]
    truth = dataset.instance_maps(clip_id, queries).astype(np.int64)
    frames = dataset.frames(clip_id, queries)
    labels = [f"frame {query}" for query in queries]
    strips = [
        Strip("Frames", [frame_image(f, f"{clip_id}, {name}", name) for f, name in zip(frames, labels, strict=True)]),
        Strip("True instances", _maps(np.where(truth > 0, truth, -1), "true instances", labels)),
    ]
    for run in shown:
        found = prediction(run, clip_id)
        clusters = np.asarray(found["clusters"]).reshape(found["shape"])
        own = [int(v) for v in found["queries"]]
        if own[: len(queries)] != queries:
            continue
        coloured = colour_by_object(clusters[: len(queries)], truth)
        strips.append(
            Strip(f"Clusters: {run.label}", _maps(coloured, f"clusters of {run.label}", labels), sources.tags(run.who))
        )
    note = (
        "Clusters over all queries together, in the colour of the largest true object that they cover. "
        "Black: no cluster."
    )
    return Gallery(f"Instances in clip {clip_id}", strips, note)


def _maps(ids: np.ndarray, what: str, labels: Sequence[str]) -> list:  # type: ignore[type-arg]
    return [
        map_image(colours, f"{what}, {name}", name) for colours, name in zip(label_colours(ids), labels, strict=True)
    ]
