"""What a grid of features could reach at best: instance scores of perfect cells, depth error of cell means.

A probe that reads one token per cell can't tell pixels of a cell apart. The scores here are those of a probe that
knows the best single answer for every cell; what is missing to 1 is the grid's share, not the features'.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

GRIDS = (8, 16, 32)
"""Cells along each axis for which ceilings are reported."""
SUCCESS = 0.5
"""IoU that every query must reach for an object to count in T-SR (published protocol)."""


class InstanceScore(NamedTuple):
    """T-mIoU and T-SR of one sample, and the number of objects that they average over."""

    t_miou: float
    t_sr: float
    objects: int


class DepthFloor(NamedTuple):
    """Errors of the best constant depth per cell: mean |d - d*| / d*, root mean square in the depth's unit."""

    abs_rel: float
    rmse: float


def cells(size: tuple[int, int], grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the number of the cell that each pixel lies in, (H, W), row by row, for a grid of (h, w) cells."""
    row = np.arange(size[0]) * grid[0] // size[0]
    column = np.arange(size[1]) * grid[1] // size[1]
    return np.asarray(row[:, None] * grid[1] + column[None, :])


def votes(
    ids: NDArray[np.integer[Any]], count: int, cell: NDArray[np.int64], grid: tuple[int, int]
) -> NDArray[np.int64]:
    """Return how many pixels of each cell have each id, (h * w, count).

    Args:
        ids: (H, W) integers in 0..count - 1.
        count: number of ids.
        cell: (H, W) of `cells`.
        grid: (h, w) cells.
    """
    number = grid[0] * grid[1]
    return np.bincount((cell * count + ids).ravel(), minlength=number * count).reshape(number, count)


def perfect_cells(instance: NDArray[np.uint16], grid: int) -> NDArray[np.int64]:
    """Return the prediction that gives every cell its most frequent instance id.

    Args:
        instance: (S, H, W) ids, 0 = none.
        grid: cells along each axis.

    Returns:
        (S, H, W) int64: the id of the pixel's cell, the lowest on ties, -1 where the cell has mostly none.
    """
    square = (grid, grid)
    cell = cells((instance.shape[1], instance.shape[2]), square)
    ids = int(instance.max()) + 1
    result = np.empty(instance.shape, np.int64)
    for query, seen in enumerate(instance):
        winner = votes(seen, ids, cell, square).argmax(axis=1)
        result[query] = np.where(winner == 0, -1, winner)[cell]
    return result


def instance_score(predicted: NDArray[np.int64], instance: NDArray[np.uint16]) -> InstanceScore:
    """Return T-mIoU and T-SR of a prediction, objects matched over the whole volume of queries.

    Every object with a pixel counts; each takes the cluster of the highest intersection over union summed over the
    queries, then its IoU is averaged over the queries that show it (published metric, with the matching done per volume
    instead of with all queries laid on top of each other).

    Args:
        predicted: (S, H, W) cluster ids, -1 = noise.
        instance: (S, H, W) object ids, 0 = none; those pixels are left out.
    """
    queries = len(instance)
    objects, clusters = int(instance.max()) + 1, int(predicted.max()) + 2
    pair = instance.astype(np.int64) * clusters + predicted + 1
    joint = np.stack([np.bincount(pair[v].ravel(), minlength=objects * clusters) for v in range(queries)])
    joint = joint.reshape(queries, objects, clusters)[:, 1:]  # (S, G, P), object 0 is background
    size = joint.sum(axis=2)
    present = np.flatnonzero(size.sum(axis=0))
    shared, area = joint[:, present, 1:], joint[:, :, 1:].sum(axis=1)
    if not len(present) or not shared.shape[2]:
        return InstanceScore(0.0, 0.0, len(present))
    union = size[:, present, None] + area[:, None, :] - shared
    best = (shared.sum(axis=0) / np.maximum(union.sum(axis=0), 1)).argmax(axis=1)
    rows = np.arange(len(present))
    iou = shared[:, rows, best] / np.maximum(union[:, rows, best], 1)
    seen = size[:, present] > 0
    mean = np.where(seen, iou, 0).sum(axis=0) / seen.sum(axis=0)
    success = np.where(seen, iou >= SUCCESS, True).all(axis=0)
    return InstanceScore(float(mean.mean()), float(success.mean()), len(present))


def depth_floor(depth: NDArray[np.float32], grid: int) -> DepthFloor:
    """Return the errors of predicting every cell's mean depth.

    Args:
        depth: (S, H, W) metres, 0 = unknown.
        grid: cells along each axis.
    """
    cell = cells((depth.shape[1], depth.shape[2]), (grid, grid)).ravel()
    relative, squared, count = 0.0, 0.0, 0
    for frame in depth.reshape(len(depth), -1).astype(np.float64):
        known = frame > 0
        sums = np.bincount(cell[known], weights=frame[known], minlength=grid * grid)
        means = sums / np.maximum(np.bincount(cell[known], minlength=grid * grid), 1)
        error = means[cell[known]] - frame[known]
        relative += float(np.abs(error / frame[known]).sum())
        squared += float((error**2).sum())
        count += int(known.sum())
    return DepthFloor(relative / max(count, 1), float(np.sqrt(squared / max(count, 1))))
