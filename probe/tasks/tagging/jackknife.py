"""Tagging metrics of a population of rooms, and what they are without each room of the split.

On the clips of a split a positive is also ranked against clips of its own room, which resemble it: average precision
then differs from what it would be over many rooms, the more so the more clips a room has. Here each positive is ranked
against the clips of other rooms alone, which estimates the value over infinitely many rooms drawn like these; where
every room has one clip, both are the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from probe.metrics.score import Variant
from probe.metrics.scores import LeftOut, PooledScores
from probe.metrics.statistics import MIN_ROOMS_POOLED, Floats, room_index
from probe.tasks.tagging.chance import random_rankings
from probe.tasks.tagging.metrics import (
    average_precision,
    bucket_means,
    f1_scores,
    probabilities_of,
    ranking_scores,
)

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("logits", "labels")
"""Columns of predictions that the report reads."""
BUCKETS = ("head", "mid", "tail")
MIN_CLASS_ROOMS = 4
"""A class counts if so many rooms show it in a clip, and so many don't in one. Without intervals all count."""


def fits(rows: pd.DataFrame, result: Mapping[str, Any]) -> bool:
    """Return whether predictions have as many classes as a run's result."""
    return {len(row) for name in COLUMNS for row in rows[name]} == {len(result["classes"])}


def pooled_scores(rows: pd.DataFrame, result: Mapping[str, Any], groups: Sequence[str]) -> PooledScores:
    """Return the metrics of a run's predictions, with and without each room.

    Args:
        rows: N predictions of a run, one per clip.
        result: of the run.
        groups: (N,) room of each clip.
    """
    labels: NDArray[np.bool_] = np.stack([np.asarray(row, bool) for row in rows["labels"]])
    logits = np.stack([np.asarray(row, np.float64) for row in rows["logits"]])
    names = [str(row["name"]) for row in result["classes"]]
    buckets = [row["bucket"] for row in result["classes"]]
    found = tagging_pooled(labels, logits, names, buckets, groups, result["variant"])
    return replace(found, values=values_on_clips(labels, logits, buckets, result["variant"]))


def values_on_clips(
    labels: NDArray[np.bool_], logits: Floats, buckets: Sequence[str], variant: Variant
) -> dict[str, float]:
    """Return the metrics by their own definition; arguments as in `tagging_pooled`."""
    number = np.array([BUCKETS.index(bucket) for bucket in buckets], np.int64)
    values = bucket_means(average_precision(labels, logits, variant=variant), number)
    decided = f1_scores(labels, probabilities_of(logits), variant=variant)
    return values | {"of1": decided.of1, "cf1": decided.cf1}


def tagging_pooled(
    labels: NDArray[np.bool_],
    logits: Floats,
    names: Sequence[str],
    buckets: Sequence[str],
    groups: Sequence[str],
    variant: Variant,
) -> PooledScores:
    """Return the metrics of a split, with and without each room, but not their values on its clips.

    Args:
        labels: (N, C) positives.
        logits: (N, C) finite scores.
        names: (C,) names of the classes.
        buckets: (C,) head, mid or tail.
        groups: (N,) room of each clip.
        variant: definition of the metrics.
    """
    rooms = room_index(groups, len(labels))
    classes = [
        _without_rooms(labels[:, c], ranked, rooms, variant) for c, ranked in enumerate(_ranked(logits, variant))
    ]
    some: NDArray[np.bool_] = np.asarray(labels.any(axis=0))
    enough = _in_enough_rooms(labels, rooms) if rooms.max() + 1 >= MIN_ROOMS_POOLED else some
    kinds = np.asarray(buckets)
    ap = {"map": _mean(classes, enough)}
    ap |= {f"ap_{name}": _mean(classes, enough & (kinds == name)) for name in BUCKETS}
    ap["mid_ratio"] = _ratio(ap["ap_mid"], ap["map"])
    skipped = [name for name, known in zip(names, enough, strict=True) if not known]
    note = f"classes in too few rooms are left out of the estimate: {', '.join(skipped)}" if skipped else ""
    f1 = _f1(labels, expit(logits) >= 0.5, rooms, enough, variant)
    notes = dict.fromkeys((*ap, "cf1"), note) if note else {}
    return PooledScores({}, ap | f1, classes, notes, {"random_map": random_rankings(labels)})


def _ranked(logits: Floats, variant: Variant) -> Floats:
    return np.asarray(ranking_scores(logits, variant=variant), np.float64).T


def _in_enough_rooms(labels: NDArray[np.bool_], rooms: NDArray[np.int64]) -> NDArray[np.bool_]:
    shown, hidden = (_by_room(x.astype(np.float64), rooms) > 0 for x in (labels, ~labels))
    enough: NDArray[np.bool_] = (shown.sum(axis=0) >= MIN_CLASS_ROOMS) & (hidden.sum(axis=0) >= MIN_CLASS_ROOMS)
    return enough


def _by_room(values: Floats, rooms: NDArray[np.int64]) -> Floats:
    sums = np.zeros((int(rooms.max()) + 1, values.shape[1]))
    np.add.at(sums, rooms, values)
    return sums


def _without_rooms(positive: NDArray[np.bool_], ranked: Floats, rooms: NDArray[np.int64], variant: Variant) -> LeftOut:
    """Average precision of each positive among clips of other rooms; again without each room."""
    number = int(rooms.max()) + 1
    order = np.argsort(-ranked, kind="stable")
    score, hit, room = ranked[order], positive[order], rooms[order]
    if not hit.any():
        return LeftOut(np.nan, np.full(number, np.nan))
    # clips and positives of each room up to each place, equal scores together unless one step is taken per clip
    clips = np.cumsum(np.eye(number)[room], axis=0)
    positives = np.cumsum(np.eye(number)[room] * hit[:, None], axis=0)
    places = np.flatnonzero(hit)
    ends = places
    if variant == "standard":
        ends = np.searchsorted(-score, -score[places], side="right") - 1
    clips, positives, own = clips[ends], positives[ends], room[places]
    each = np.arange(len(places))
    rank = 1.0 + clips.sum(axis=1) - clips[each, own]
    true = 1.0 + positives.sum(axis=1) - positives[each, own]
    other = own[:, None] != np.arange(number)
    precision = np.where(other, (true[:, None] - positives) / np.where(other, rank[:, None] - clips, 1.0), 0.0)
    kept = other.sum(axis=0)
    without = np.divide(precision.sum(axis=0), kept, out=np.full(number, np.nan), where=kept > 0)
    return LeftOut(float((true / rank).mean()), without)


def _mean(classes: Sequence[LeftOut], chosen: NDArray[np.bool_]) -> LeftOut:
    some = [one for one, known in zip(classes, chosen, strict=True) if known]
    number = len(classes[0].without)
    if not some:
        return LeftOut(np.nan, np.full(number, np.nan))
    return LeftOut(float(np.mean([one.estimate for one in some])), np.mean([one.without for one in some], axis=0))


def _ratio(above: LeftOut, below: LeftOut) -> LeftOut:
    with np.errstate(divide="ignore", invalid="ignore"):
        value, without = np.divide(above.estimate, below.estimate), above.without / below.without
    return LeftOut(float(value) if np.isfinite(value) else np.nan, np.where(np.isfinite(without), without, np.nan))


def _f1(
    labels: NDArray[np.bool_],
    said: NDArray[np.bool_],
    rooms: NDArray[np.int64],
    enough: NDArray[np.bool_],
    variant: Variant,
) -> dict[str, LeftOut]:
    both, either = (_by_room(x.astype(np.float64), rooms) for x in (labels & said, labels.astype(np.int64) + said))
    # the whole first, then without each room
    hits, decided = (np.vstack([x.sum(axis=0), x.sum(axis=0) - x]) for x in (both, either))
    empty = 0.0 if variant == "paper" else np.nan
    total = decided.sum(axis=1)
    overall = np.divide(2 * hits.sum(axis=1), total, out=np.full(len(total), empty), where=total > 0)
    per_class = np.divide(2 * hits, decided, out=np.full_like(hits, np.nan), where=decided > 0)[:, enough]
    mean = per_class.mean(axis=1) if enough.any() else np.full(len(total), np.nan)
    return {"of1": LeftOut(float(overall[0]), overall[1:]), "cf1": LeftOut(float(mean[0]), mean[1:])}
