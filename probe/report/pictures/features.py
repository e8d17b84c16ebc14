"""PCA of features beside the frame: one strip per source and query, one picture per stored layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from configs.errors import SpatialprobeError
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.reader import PreparedDataset
from fusion.opening import open_source
from probe.report.contract import ReportData
from probe.report.page.document import Block, Gallery, Missing, Strip
from probe.report.page.labels import Sources
from probe.report.page.values import records
from probe.report.pictures.choice import MAX_SOURCES
from probe.report.pictures.encode import frame_image, map_image
from probe.report.pictures.pca import pca_colours

MAX_LAYERS = 6
"""Layers of one source, spread evenly."""
FRAMES = 2
"""Frames of the clip."""


def feature_blocks(data: ReportData, sources: Sources, dataset: PreparedDataset, clip_id: str) -> list[Block]:
    """Return the galleries of a clip, and what could not be drawn.

    Args:
        data, sources: the report.
        dataset: the prepared dataset that has the clip.
        clip_id: the clip.
    """
    arrays: dict[str, dict[str, dict[str, Any]]] = {}
    settings = {row["setting"]: row["dataset"] for row in records(data.table("settings"))}
    for row in records(data.table("entries")):
        if settings.get(row["setting"]) == dataset.name:
            arrays.setdefault(str(row["label"]), {}).setdefault(str(row["array"]), row)
    slots = _spread(dataset.query_positions(clip_id), FRAMES)
    strips: list[Strip] = []
    missing: list[Block] = []
    for label, own in sorted(arrays.items(), key=lambda item: _style(sources, item[1]))[:MAX_SOURCES]:
        layers = sorted(own.values(), key=lambda row: (row["relative_depth"] or 0.0, str(row["array"])))
        try:
            strips += _strips(data, sources, dataset, clip_id, slots, _spread(layers, MAX_LAYERS))
        except SpatialprobeError as error:
            missing.append(Missing(f"Features of {label} can't be shown: {error.problem}.", error.fix or ""))
    note = (
        f"Clip {clip_id}. First three principal components of all cells as red, green and blue; one analysis per "
        "layer, for both frames together: equal colours of one layer mean similar features. Colours of different "
        "layers are unrelated. Percentages: variance that the three components hold."
    )
    galleries: list[Block] = [Gallery("Features", strips, note, wide=True)] if strips else []
    return [*galleries, *missing]


def _strips(
    data: ReportData,
    sources: Sources,
    dataset: PreparedDataset,
    clip_id: str,
    positions: Sequence[int],
    layers: Sequence[dict[str, Any]],
) -> list[Strip]:
    first = layers[0]
    store = open_source(data.root, dataset.name, str(first["source"]), str(first["store"]))
    size = dataset.frame_size(clip_id)
    frames = dataset.frames(clip_id, positions)
    images = [
        [frame_image(frame, f"frame {p} of {clip_id}", f"frame {p}")]
        for frame, p in zip(frames, positions, strict=True)
    ]
    for layer in layers:
        spec = store.array(str(layer["array"]))
        rows = spec.rows_of([QUERY_POSITIONS.index(position) for position in positions])
        read = store.read([(clip_id, spec.name, rows)])
        found = pca_colours(np.asarray(read[0].float()))
        name = spec.tap if spec.block is None else f"{spec.tap}, block {spec.block} of {spec.blocks_total}"
        noise = "" if spec.noise_level is None else f", noise {spec.noise_level:.2g}"
        for query, colours in enumerate(found.colours):
            label = f"{name}{noise}: {found.explained:.0%}"
            images[query].append(map_image(colours, f"features of {first['label']}, {name}, as colours", label, size))
    joined = [image for row in images for image in row]
    return [Strip(str(first["label"]), joined, sources.tags(first), len(layers) + 1)]


def _style(sources: Sources, arrays: dict[str, dict[str, Any]]) -> int:
    return sources.style(next(iter(arrays.values())))


def _spread(items: Sequence[Any], count: int) -> list[Any]:
    """Return `count` of the items, evenly spread, ends included; all if there are fewer."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
