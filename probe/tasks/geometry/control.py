"""Control task of geometry: every object lies in a plane at the depth of another object of its clip."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data.dataset.reader import PreparedDataset
from data.raw.images import nearest
from probe.inputs.control_tasks import ControlTask, Parts, Relabel, exchanged, seen_objects


def typical_depths(ids: NDArray[np.uint16], depth: NDArray[np.float32]) -> dict[int, float]:
    """Return object id -> its median depth over the mean of all, for objects with known depth.

    Args:
        ids: (S, H, W) object ids, 0 = none.
        depth: (S, H, W), 0 = unknown.
    """
    known = (depth > 0) & (ids > 0)
    if not known.any():
        return {}
    mean = float(depth[depth > 0].mean(dtype=np.float64))
    return {int(i): float(np.median(depth[known & (ids == i)])) / mean for i in np.unique(ids[known])}


def planes(depths: dict[int, float], size: int, rng: np.random.Generator | None) -> NDArray[np.float32]:
    """Return (size,) the depth of each object's plane: that of another object; 0 for other ids.

    Args:
        depths: object id -> depth.
        size: one more than the largest id.
        rng: hands the depths round; None: objects keep their own.
    """
    table = np.zeros(size, np.float32)
    ids = sorted(depths)
    taken = range(len(ids)) if rng is None else exchanged(len(ids), rng)
    table[ids] = [depths[ids[other]] for other in taken]
    return table


def moved(depth: Tensor, points: Tensor, world2cam: Tensor, target: Tensor) -> Tensor:
    """Return points that lie on the same rays at another depth.

    Args:
        depth: (S, h, w), above 0 where the target is.
        points: (S, h, w, 3) in the frame of camera 0.
        world2cam: (S, 4, 4), from there to each camera.
        target: (S, h, w) new depth, 0 = unknown; such points become 0.
    """
    turn, shift = world2cam[:, :3, :3], world2cam[:, :3, 3]
    centres = -(turn.transpose(1, 2) @ shift[:, :, None])[:, None, None, :, 0]
    share = (target / depth.clamp(min=1e-12))[..., None]
    return torch.where(target[..., None] > 0, centres + (points - centres) * share, torch.zeros_like(points))


def relabel(dataset: PreparedDataset, parts: Parts, targets: Any, draw: int | None) -> Relabel:
    """Return what puts every object into its plane; objects of views never learned from get no depth.

    A plane has the same depth, in units of a sample's targets, in all views. Cameras stay true.

    Args:
        dataset: its depth and instance maps.
        parts: clips and the views that are learned from.
        targets: unused.
        draw: number of the draw; None keeps true depths.
    """
    tables = {}
    for clip_id in parts.train:
        views = parts.learned[clip_id]
        ids = dataset.instance_maps(clip_id, views)
        found = typical_depths(ids, dataset.depth(clip_id, views))
        size = max(seen_objects(dataset, clip_id, dataset.query_positions(clip_id))) + 1
        rng = None if draw is None else parts.rng(draw, clip_id)
        tables[clip_id] = torch.from_numpy(planes(found, size, rng))

    def change(sample: dict[str, Any]) -> dict[str, Any]:
        depth = sample["depth"]
        maps = dataset.instance_maps(sample["clip_id"], sample["queries"].tolist())
        rows, columns = nearest(maps.shape[1], depth.shape[1]), nearest(maps.shape[2], depth.shape[2])
        ids = torch.from_numpy(maps[:, rows[:, None], columns[None]].astype(np.int64))
        plane = tables[sample["clip_id"]][ids]
        labelled = (depth > 0) & (plane > 0)
        target = torch.where(labelled, depth if draw is None else plane, torch.zeros_like(depth))
        points = moved(depth, sample["points"], sample["world2cam"], target)
        confidence = torch.where(labelled, sample["confidence"], torch.zeros_like(sample["confidence"]))
        return {**sample, "depth": target, "points": points, "confidence": confidence}

    return change


CONTROL = ControlTask(
    "object",
    "the depth of another object, the same in all views",
    ("abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "delta_1", "delta_2", "delta_3"),
    relabel,
    left_out="a camera belongs to no object that could have a label, and points mix depths with cameras",
)
