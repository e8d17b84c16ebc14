"""The best score that cluster maps of a coarse grid can reach: the cost of the grid alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.dataset.ceilings import cells, votes
from probe.metrics.arrays import BoolArray, IntArray, require_array
from probe.metrics.score import ClipScore, Variant
from probe.tasks.instance.clustering import upsample_labels
from probe.tasks.instance.metrics import NOISE, Background, compact, instance_score, match_objects


def majority_labels(
    truth: IntArray,
    grid: tuple[int, int],
    *,
    valid: BoolArray | None = None,
    ignored: tuple[int, ...] = (0,),
    min_cells: int = 30,
) -> NDArray[np.int32]:
    """Label maps of a perfect probe: each cell takes the object with most pixels in it.

    Args:
        truth: (S, H, W) object ids, any integers.
        grid: (h, w) cells.
        valid: (S, H, W) bool, pixels that count; all by default.
        ignored: ids that aren't objects; cells that hold nothing else are noise.
        min_cells: objects with fewer cells over all queries become noise, as clustering can't find them.

    Returns:
        (S, h, w) int32: 0, 1, ... per object, -1 noise. Ties go to the lowest object id.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    require_array(
        truth,
        (None, None, None),
        "integer",
        "instance ids",
        fix="pass maps of all queries; maps[None] for a single one",
    )
    if valid is not None:
        require_array(valid, truth.shape, "bool", "valid mask")
    queries, height, width = truth.shape
    rows, columns = grid
    dropped = np.isin(truth, ignored) if valid is None else np.isin(truth, ignored) | ~valid
    object_ids, objects = compact(truth, dropped)
    cell = cells((height, width), grid)
    n_objects = len(object_ids)
    labels = np.full((queries, rows * columns), NOISE, np.int32)
    for query in range(queries):
        counts = votes(objects[query], n_objects + 1, cell, grid)
        if n_objects:
            filled = counts[:, :n_objects].any(axis=1)
            labels[query, filled] = np.argmax(counts[filled, :n_objects], axis=1)
    sizes = np.bincount(labels[labels >= 0], minlength=max(n_objects, 1))
    labels[(labels >= 0) & (sizes[np.maximum(labels, 0)] < min_cells)] = NOISE
    return labels.reshape(queries, rows, columns)


def grid_ceiling(
    truth: IntArray,
    grid: tuple[int, int],
    *,
    valid: BoolArray | None = None,
    things: IntArray | None = None,
    background: Background = "excluded",
    min_cells: int = 30,
    variant: Variant = "standard",
) -> ClipScore:
    """Score of a clip whose cells are all grouped right: the practical ceiling of `score_embeddings` on this grid.

    Args:
        truth: (S, H, W) object ids, any integers, 0 = none.
        grid: (h, w) cells of the embeddings.
        valid: (S, H, W) bool, pixels that count; all by default.
        things: (K,) ids for the things-only scores.
        background: see `match_objects`.
        min_cells: smallest cluster that clustering can return.
        variant: see `match_objects`.

    Raises:
        DatasetError: shapes differ, or a dtype is wrong.
    """
    labels = majority_labels(truth, grid, valid=valid, min_cells=min_cells)
    upsampled = upsample_labels(labels, (truth.shape[1], truth.shape[2]))
    matches = match_objects(upsampled, truth, valid=valid, background=background, variant=variant)
    return instance_score(matches, things=things, variant=variant)
