"""Control task of tagging: every room has the class set of another room."""

from __future__ import annotations

from typing import Any

from data.dataset.reader import PreparedDataset
from probe.inputs.control_tasks import ControlTask, Parts, Relabel, exchanged


def relabel(dataset: PreparedDataset, parts: Parts, targets: Any, draw: int | None) -> Relabel:
    """Return what gives all clips of a room the class set of another room.

    The set of a room is that of its first clip that is learned from, as its first sample shows it. Sets are handed
    round: classes are as frequent as in truth and occur together with the same others, so that mAP by chance is that
    of the real task, which independent draws of each class would not give.

    Args:
        dataset: unused.
        parts: clips and their rooms.
        targets: of the clips that are learned from.
        draw: number of the draw; None for true labels.
    """
    if draw is None:
        return dict
    first: dict[str, str] = {}
    for clip_id in parts.train:
        first.setdefault(parts.room_of[clip_id], clip_id)
    rooms = sorted(first)
    taken = exchanged(len(rooms), parts.rng(draw, ""))
    labels = {room: targets.sample(first[rooms[other]], 0)["labels"] for room, other in zip(rooms, taken, strict=True)}
    return lambda sample: {**sample, "labels": labels[parts.room_of[sample["clip_id"]]]}


CONTROL = ControlTask(
    "room",
    "the class set of another room",
    ("map", "ap_head", "ap_mid", "ap_tail", "of1", "cf1"),
    relabel,
    left_out="the ratio of two scores has no difference that means anything",
)
