"""Control task of instance grouping: objects are merged at random, and the merged ones have to be grouped."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.dataset.reader import PreparedDataset
from probe.inputs.control_tasks import ControlTask, Parts, Relabel, seen_objects


def merged(ids: list[int], size: int, rng: np.random.Generator | None) -> NDArray[np.int64]:
    """Return (size,) the label of each object id, 0 for ids that are not among those given.

    N objects get about sqrt(N) labels, as evenly as possible: with so many, neither the answer "every object by
    itself" nor "all together" scores well.

    Args:
        ids: the objects, N of them.
        size: one more than the largest id.
        rng: deals the labels; None keeps the ids.
    """
    table = np.zeros(size, np.int64)
    if rng is None:
        table[ids] = ids
    else:
        table[rng.permutation(ids)] = 1 + np.arange(len(ids)) % max(2, round(math.sqrt(len(ids))))
    return table


def relabel(dataset: PreparedDataset, parts: Parts, targets: Any, draw: int | None) -> Relabel:
    """Return what replaces the ids of objects by random labels; objects of views never learned from get none.

    Args:
        dataset: its instance maps say which objects the views show.
        parts: clips and the views that are learned from.
        targets: unused.
        draw: number of the draw; None keeps the ids.
    """
    tables = {}
    for clip_id in parts.train:
        size = max(seen_objects(dataset, clip_id, dataset.query_positions(clip_id))) + 1
        ids = seen_objects(dataset, clip_id, parts.learned[clip_id])
        rng = None if draw is None else parts.rng(draw, clip_id)
        tables[clip_id] = torch.from_numpy(merged(ids, size, rng))

    def change(sample: dict[str, Any]) -> dict[str, Any]:
        table = tables[sample["clip_id"]]
        result = {**sample, "ids": table[sample["ids"]]}
        if "maps" in sample:
            result["maps"] = table[sample["maps"].long()].int()
            result["things"] = torch.zeros_like(sample["things"])  # a merged object is neither thing nor stuff
        return result

    return change


CONTROL = ControlTask(
    "object",
    "one of about sqrt(N) groups of the N objects",
    ("t_sr", "t_miou"),
    relabel,
    left_out="a group of objects is neither thing nor stuff",
)
