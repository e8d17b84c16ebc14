"""Tables of scores: all of them, and the curves, classes and bins made from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probe.report.columns import task_columns
from probe.report.runs.settings import data_budget
from probe.report.scores.entries import Entry
from probe.report.tables.frames import cell_id, defined, interval_columns, score_cell, where
from probe.task import Bins, load_task
from probe.train.recipe import BUDGETS

Rows = list[dict[str, Any]]


def title_of(entry: Entry, metric: str) -> str:
    """Return the name of a metric for a reader."""
    return entry.metrics[metric].title if metric in entry.metrics else metric


def better_of(entry: Entry, metric: str) -> str:
    """Return `higher` or `lower`."""
    if metric in entry.metrics:
        return entry.metrics[metric].better
    for bins in load_task(entry.task).bins:
        if metric.startswith(f"{bins.prefix}_"):
            return entry.metrics[bins.metric].better
    return "lower" if metric == "loss" or metric.endswith("_err") else "higher"


def score_rows(entries: Iterable[Entry]) -> Rows:
    """Return table `scores`."""
    return [_row(entry, metric) for entry in entries for metric in entry.scored.scores]


def _row(entry: Entry, metric: str) -> dict[str, Any]:
    score = entry.scored.scores[metric]
    seeds = [value for value in map(defined, score.seeds) if value is not None]
    return {
        **where(entry),
        "metric": metric,
        "title": title_of(entry, metric),
        "better": better_of(entry, metric),
        "cell": score_cell(entry, metric),
        **interval_columns(score.interval, len(entry.runs), score.on_clips, score.note),
        **_chance(entry, metric),
        "seed_low": min(seeds, default=None),
        "seed_high": max(seeds, default=None),
        "n_undefined": score.undefined,
        "runs": entry.run_ids,
    }


def _chance(entry: Entry, metric: str) -> dict[str, Any]:
    """Return the band of chance of a metric, and where its value on these clips lies."""
    bounds = [key for key, known in entry.metrics.items() if known.bounds == metric and entry.score(key)]
    bands = [entry.scored.scores[key].interval for key in bounds if entry.scored.scores[key].estimate is None]
    band = next((band for band in bands if defined(band.low) is not None), None)
    if band is None:
        return {}
    value = entry.scored.scores[metric].on_clips
    place = "above" if value > band.high else "below" if value < band.low else "within"
    return {"chance_low": defined(band.low), "chance_high": defined(band.high), "beyond_chance": place}


def _curve_row(entry: Entry, metric: str) -> dict[str, Any]:
    facts = {key: entry.facts[key] for key in ("tap", "block", "relative_depth", "noise_level")}
    return {**_row(entry, metric), **facts, "select_value": defined(entry.on_select(metric))}


def _columns(entry: Entry) -> list[str]:
    """The columns of its task that an entry has."""
    return [c.metric for c in task_columns(entry.task) if entry.score(c.metric) is not None]


def layer_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `layers`: every entry with a block number, along the depth of the network."""
    found = [entry for entry in entries if entry.facts["block"] is not None]
    found.sort(key=lambda e: (e.setting.id, e.label, str(e.facts["noise_level"]), e.facts["block"]))
    return [_curve_row(entry, metric) for entry in found for metric in _columns(entry)]


def noise_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `noise`: blocks with two noise levels or more."""
    groups: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        if entry.facts["noise_level"] is not None:
            key = (entry.setting.id, entry.source.store, entry.source.name, entry.facts["tap"], entry.facts["block"])
            groups.setdefault((*key, str(entry.facts["grid"])), []).append(entry)
    rows: Rows = []
    for group in groups.values():
        if len({entry.facts["noise_level"] for entry in group}) > 1:
            ordered = sorted(group, key=lambda e: float(e.facts["noise_level"]))
            rows += [_curve_row(entry, metric) for entry in ordered for metric in _columns(entry)]
    return rows


def curve_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `curves`: equal features under probes of several depths, or from several shares of the clips."""
    rows: Rows = []
    for axis, budget in (("depth", None), *(("fraction", budget) for budget in BUDGETS)):
        groups: dict[str, list[Entry]] = {}
        for entry in entries:
            if budget and data_budget(entry.setting.key["options"]) not in (None, budget):
                continue  # all clips end both curves
            groups.setdefault(cell_id(*_without(entry, axis)), []).append(entry)
        for group in groups.values():
            if len({_place(entry, axis) for entry in group}) < 2:
                continue
            curve = cell_id("curve", budget, *_without(group[0], axis)[:-_OWN])
            for entry in sorted(group, key=lambda e: _place(e, axis)):
                x = _place(entry, axis)
                text = entry.setting.key["depth"] if axis == "depth" else f"{x:g}"
                facts = {"curve": curve, "axis": axis, "held": budget, "x": x, "x_label": text}
                rows += [{**_row(entry, metric), **facts} for metric in _columns(entry)]
    return rows


def _place(entry: Entry, axis: str) -> float:
    if axis == "fraction":
        return float(entry.setting.key["options"].get("fraction", 1.0))
    depth = entry.setting.key["depth"]
    return -1.0 if depth == "linear" else float(depth)


_OWN = 3
"""How many of the last parts of `_without` say which features an entry reads; curves of a chart share the others."""


def _without(entry: Entry, axis: str) -> list[object]:
    """Everything that must be equal along an axis; another share of clips is another list of clips."""
    key = dict(entry.setting.key)
    options = dict(key.pop("options"))
    inputs = dict(key.pop("inputs"))
    if axis == "depth":
        key.pop("depth")
    else:
        options.pop("fraction", None)
        options.pop("data_budget", None)
        inputs.pop("clips", None)
    return [axis, key, options, inputs, entry.source.name, entry.source.store, entry.facts["array"]]


def _ap(row: Mapping[str, Any]) -> float:
    return math.nan if row["ap"] is None else float(row["ap"])


def class_rows(entries: Iterable[Entry]) -> Rows:
    """Return table `classes` of the chosen entries."""
    rows: Rows = []
    for entry in entries:
        clips = len(entry.clips.ids) if entry.clips else 0
        for row in entry.scored.classes if entry.chosen else ():
            positives = int(row["positives"])
            rows.append(
                {
                    **where(entry),
                    "class": row["name"],
                    "bucket": row["bucket"],
                    "positives": positives,
                    "train_rate": row["train_rate"],
                    "chance": positives / clips if clips else None,
                    "cell": cell_id("class", entry.id, row["name"]),
                    **interval_columns(
                        row["interval"], len(entry.runs), float("nan") if row["ap"] is None else row["ap"]
                    ),
                }
            )
    return rows


def bin_rows(entries: Iterable[Entry], task: str, bins: Bins) -> Rows:
    """Return the table of metrics in bins, of the chosen entries of the task that declares them."""
    rows: Rows = []
    for entry in entries:
        if entry.chosen and entry.task == task:
            for number, (metric, label) in enumerate(bins.labels.items()):
                if metric in entry.scored.scores:
                    rows.append({**_row(entry, metric), "bin": number, "bin_label": label})
    return sorted(rows, key=lambda row: (row["setting"], row["label"], row["entry"], row["bin"]))
