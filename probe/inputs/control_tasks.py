"""Control tasks: random labels that every view of a room or object shares, and which samples are learned and scored.

After Hewitt and Liang (2019). A control task gives every *type* (there a word, here a room or an object) a random
label, the same in all samples of the type. Nothing in an input says what the label is, so a probe can only know the
type and remember. It learns from some samples of each type and is scored on others; the probe on the true labels
learns from and is scored on the same ones. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from configs import commands
from configs.identity import digest
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.queries import QueryPlan, clip_rng
from data.dataset.reader import PreparedDataset
from probe.inputs.inputs import Inputs

Relabel = Callable[[dict[str, Any]], dict[str, Any]]
"""From a sample of a task's targets to the same sample with other labels; what features are of stays."""
Unit = Literal["room", "object"]

HELD = 4
"""One clip of a room in so many is scored, at least one."""
LEAST_ROOMS = 2
LEAST_OBJECTS = 3
"""A clip with fewer objects has no two that could be merged or exchanged without all being treated alike."""
DRAWN_PLANS = 64
"""Frozen draws of queries that training goes through, where only some views of a clip may be learned from."""


@dataclass(frozen=True)
class Parts:
    """The samples of a control task: those learned from and, of the same types, those scored.

    Attributes:
        unit: what has a label: rooms, or the objects of a clip.
        seed: of all draws.
        train, held: clips learned from and clips scored; the same ones if the views of a clip are divided.
        train_plan: queries to learn from; None: any, as the sampler draws them.
        held_plan: queries that are scored.
        room_of: clip -> room, of all these clips.
        learned: clip -> positions learned from, where the views of a clip are divided; else empty.
    """

    unit: Unit
    seed: int
    train: list[str]
    held: list[str]
    train_plan: QueryPlan | None
    held_plan: QueryPlan
    room_of: Mapping[str, str]
    learned: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def rng(self, draw: int, unit: str) -> np.random.Generator:
        """Return the generator of the labels of a draw; `unit` is the clip that they belong to, or empty."""
        return clip_rng(self.seed, draw, unit, "control task")


@dataclass(frozen=True)
class Unavailable:
    """Why a dataset or task has no control task.

    Attributes:
        reason: what is missing.
        fix: what would make it available; may be empty.
    """

    reason: str
    fix: str = ""


@dataclass(frozen=True)
class ControlTask:
    """What a task declares as `CONTROL` in the file `control.py` of its folder.

    Attributes:
        unit: what has a random label: `room`, or `object`.
        label: what the label is, for tables and pages.
        metrics: the metrics that judge it, by key.
        left_out: why the other metrics of the task don't; empty if all do.
        relabel: from dataset, parts, the targets learned from and the number of the draw to what exchanges the labels
            of a sample. Draw None keeps true labels, but leaves out what no control task has a label for, so that both
            are judged on the same ground.
    """

    unit: Unit
    label: str
    metrics: tuple[str, ...]
    relabel: Callable[[PreparedDataset, Parts, Any, int | None], Relabel]
    left_out: str = ""


def parts_of(inputs: Inputs, unit: Unit, queries: int, seed: int) -> Parts | Unavailable:
    """Divide the training clips into samples to learn from and samples to score; the other splits are never touched.

    Args:
        inputs: clips, plan and arrays of the run.
        unit: rooms are divided by clips, objects by views of a clip.
        queries: per sample.
        seed: of the choice.
    """
    rooms = {clip_id: str(inputs.dataset.clips.at[clip_id, "group_id"]) for clip_id in inputs.train}
    return _by_clip(inputs, rooms, seed) if unit == "room" else _by_view(inputs, rooms, queries, seed)


def _by_clip(inputs: Inputs, rooms: Mapping[str, str], seed: int) -> Parts | Unavailable:
    members: dict[str, list[str]] = {}
    for clip_id, room in rooms.items():
        members.setdefault(room, []).append(clip_id)
    several = {room: clips for room, clips in members.items() if len(clips) > 1}
    if len(several) < LEAST_ROOMS:
        fix = "import several clips of every room, with one group_id per room"
        if inputs.dataset.identity.get("kind") == "rooms":
            made = commands.data("prepare", kind="rooms", dataset=commands.Blank("<name>"), clips_per_room=2)
            fix = f"{made}, then extract and probe that dataset"
        return Unavailable(
            f"{len(several)} rooms of the training split have two clips or more, and {LEAST_ROOMS} are needed: one "
            "clip to learn a room's labels from, another to be scored",
            fix,
        )
    train, held = [], []
    for room, clips in sorted(several.items()):
        order = clip_rng(seed, 0, room, "control task clips").permutation(len(clips))
        cut = max(1, len(clips) // HELD)
        held += [clips[int(i)] for i in order[:cut]]
        train += [clips[int(i)] for i in order[cut:]]
    used = {clip_id: rooms[clip_id] for clip_id in (*train, *held)}
    return Parts("room", seed, sorted(train), sorted(held), None, inputs.plan, used)


def _by_view(inputs: Inputs, rooms: Mapping[str, str], queries: int, seed: int) -> Parts | Unavailable:
    dataset = inputs.dataset
    marked = [clip_id for clip_id in inputs.train if bool(dataset.clips.at[clip_id, "has_instance"])]
    if not marked:
        return Unavailable(
            "no training clip has object maps, which say which pixels of different views show the same object",
            "probe a dataset with object maps, such as rooms or scannet",
        )
    learned, scored = {}, {}
    for clip_id in marked:
        first, second = _halves(inputs, clip_id)
        if first and second and len(seen_objects(dataset, clip_id, first)) >= LEAST_OBJECTS:
            learned[clip_id], scored[clip_id] = first, second
    if not learned:
        return Unavailable(
            f"no training clip shows {LEAST_OBJECTS} objects or more in several views that have features of their own",
            "prepare longer clips, or probe an array that has features of more query frames",
        )
    clips = sorted(learned)
    count = min(queries, *(len(views) for views in learned.values()))
    held = min(count, *(len(views) for views in scored.values()))
    train_plan = {c: [_some(learned[c], count, seed, draw, c) for draw in range(DRAWN_PLANS)] for c in clips}
    held_plan = {c: [_some(scored[c], held, seed, 0, c)] for c in clips}
    used = {clip_id: rooms[clip_id] for clip_id in clips}
    return Parts("object", seed, clips, clips, _plan(train_plan), _plan(held_plan), used, learned)


def _halves(inputs: Inputs, clip_id: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the earlier half of a clip's query positions, and those later ones that share no feature row with it."""
    legal = [p for p in inputs.dataset.query_positions(clip_id) if p in inputs.positions]
    first, rest = legal[: len(legal) // 2], legal[len(legal) // 2 :]
    slots = {position: slot for slot, position in enumerate(QUERY_POSITIONS)}
    for layer in inputs.layers:
        read = {layer.array.row_of_slot[slots[position]] for position in first}
        rest = [position for position in rest if layer.array.row_of_slot[slots[position]] not in read]
    return tuple(first), tuple(rest)


def _some(positions: Sequence[int], count: int, seed: int, draw: int, clip_id: str) -> tuple[int, ...]:
    chosen = clip_rng(seed, draw, clip_id, "control task views").choice(len(positions), count, replace=False)
    return tuple(positions[i] for i in sorted(chosen.tolist()))


def _plan(queries: dict[str, list[tuple[int, ...]]]) -> QueryPlan:
    return QueryPlan("control task", queries, digest(queries))


def seen_objects(dataset: PreparedDataset, clip_id: str, positions: Sequence[int]) -> list[int]:
    """Return the ids of the objects that some views of a clip show, ascending."""
    return [int(number) for number in np.unique(dataset.instance_maps(clip_id, positions)) if number]


def exchanged(count: int, rng: np.random.Generator) -> list[int]:
    """Return for each of `count` things another one that it takes the label of; each gives its label once.

    Labels that are handed round keep the distribution of the true ones: as often as there, and together with the same.
    """
    order = rng.permutation(count).tolist()
    following = dict(zip(order, [*order[1:], *order[:1]], strict=True))
    return [following[i] for i in range(count)]
