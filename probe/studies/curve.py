"""`spatialprobe probe curve`: the same features under more capacity, more data or more channels, with intervals.

A curve is a set of runs, planned along one axis and trained by the sweep: points of capacity and width share passes
over the data, points of data have batches of their own. One row is printed per point: seeds are averaged per clip, then
rooms are resampled, as in the report.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from configs import commands
from configs.console import print_table
from configs.errors import ConfigError, MissingError
from configs.names import is_joined
from probe.config import CurveConfig, RunConfig
from probe.inputs.inputs import sources
from probe.metrics.statistics import Interval
from probe.report.runs.collect import Run, collect
from probe.report.scores.scoring import report_clips, score
from probe.results.repeat import train_command
from probe.task import find_metric, load_task
from probe.train.plan import Planned, plan_sweep

DEPTHS = ("linear", "0", "1", "2", "4")
SHARES = ("0.1", "0.25", "0.5", "1")
WIDTHS = ("16", "64", "256", "1024")
FULL = "full"
"""The features at their own width, among points of axis width."""
CONFIDENCE, SEED = 0.95, 0
PLACES = {"capacity": "depth", "data": "fraction", "width": "channels"}
"""Axis -> what a run's place on it is called in its result."""


def plan_curve(config: CurveConfig) -> list[Planned]:
    """Return what a curve is to train, in parts that share inputs.

    Args:
        config: options of `curve`.

    Raises:
        ConfigError: a point that the axis can't have, or the option that the axis itself sets.
        SpatialprobeError: whatever is wrong with stores, dataset or configuration.
    """
    runs = config.sweep.runs
    _check_free(config.axis, runs)
    if config.axis == "capacity":
        return [_planned(config, what=dataclasses.replace(runs.what, depths=config.points or list(DEPTHS)))]
    if config.axis == "data":
        shares = sorted({_share(point) for point in config.points or SHARES})
        return [_planned(config, how=dataclasses.replace(runs.how, fraction=share)) for share in shares]
    return [_planned(config, what=dataclasses.replace(runs.what, model=_widths(config)))]


def _planned(config: CurveConfig, **changes: Any) -> Planned:
    runs = dataclasses.replace(config.sweep.runs, **changes)
    return plan_sweep(dataclasses.replace(config.sweep, runs=runs), many=False)


def _check_free(axis: str, runs: RunConfig) -> None:
    """Refuse the option that the axis sets: which of the two is meant would be a guess."""
    given = {"capacity": ("depths", runs.what.depths), "data": ("fraction", runs.how.fraction < 1)}.get(axis)
    if given is not None and given[1]:
        raise ConfigError(
            f"axis={axis} sets {given[0]}= itself", fix=f"leave {given[0]}= out, and name the points with points="
        )


def _share(point: str) -> float:
    try:
        share = float(point)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise ConfigError("points of axis data are shares of the clips", found=point, fix="points=0.1,0.25,0.5,1")
    return share


def _widths(config: CurveConfig) -> list[str]:
    """Return the names of all models at all widths.

    Without `points=`, those of WIDTHS that are below a model's own width, and that width itself.
    """
    wrong = [point for point in config.points if point != FULL and not (point.isdigit() and int(point))]
    if wrong:
        raise ConfigError("points of axis width are channels, or full", found=wrong[0], fix="points=16,64,256,full")
    if joined := [name for name in sources(config.sweep.runs.what) if name and is_joined(name)]:
        raise ConfigError(
            "axis=width takes single models, which it brings to other widths", found=joined[0],
            fix="name the models without + and @",
        )  # fmt: skip
    channels: dict[str, int] = {}
    for inputs, _ in _planned(config).groups:
        for store, array in inputs.layers:
            channels[store.source] = min(array.channels, channels.get(store.source, array.channels))
    return [
        name if point == FULL else f"{name}@{config.projection}{point}"
        for name, own in channels.items()
        for point in config.points or [*(width for width in WIDTHS if int(width) < own), FULL]
    ]


def print_curve(config: CurveConfig, parts: Sequence[Planned], failed: Mapping[str, str]) -> int:
    """Print one row per point of a curve, and what failed; return the exit code.

    Args:
        config: options of `curve`.
        parts: from `plan_curve`.
        failed: run id -> why it has no result.

    Raises:
        MissingError: a run's tables are gone, without which there are no intervals.
    """
    labels = {plan.run_id: plan.label for part in parts for plan in part.plans}
    root = parts[0].config.where.root
    found = collect(root)
    runs = [run for run in found.runs if run.run_id in labels]
    task = load_task(config.sweep.runs.task)
    shown = [key for key, metric in task.metrics.items() if metric.header] or [task.headline]
    axis = PLACES[config.axis]
    held = f" with equal {config.sweep.runs.how.data_budget}" if config.axis == "data" else ""
    rows = []
    for place, group in _points(runs, axis):
        first = group[0].result
        intervals = intervals_of(group, config.sweep.runs.where.resamples)
        any_ = intervals[task.headline]
        rooms = first.get("rooms", {}).get("train")
        rows.append(
            [first["source"], first["array"], first["control"], place, first["clips"]["train"], rooms, len(group),
             *(_text(intervals.get(key)) for key in shown), any_.n_groups]
        )  # fmt: skip
    columns = ["source", "layer", "control", axis, "clips", "rooms", "seeds", *map(_title, shown), "report rooms"]
    keep = [i for i, name in enumerate(columns) if name != "control" or any(row[i] for row in rows)]
    if rows:
        notes = [f"{CONFIDENCE:.0%} intervals over rooms of the report split; seeds are averaged per clip first"]
        if min(row[-1] for row in rows) < 10:
            notes.append("with fewer than about ten rooms intervals are too narrow")
        print_table(
            f"{task.name}, {config.axis} curve{held}, report split", [columns[i] for i in keep],
            [[row[i] for i in keep] for row in rows], notes=notes,
        )  # fmt: skip
        print(
            f"{commands.probe('compare', root=root)} tests two points; {commands.probe('report', root=root)} draws them"
        )
    stale = {run.run_id: why for run, why in found.stale}
    for run_id, why in {**stale, **found.left_out}.items():
        if run_id in labels:
            print(f"left out: {labels[run_id]}: {why}")
    for run_id, reason in failed.items():
        print(f"failed: {labels[run_id]}: {reason}")
    if failed:
        print("the same command tries them again")
    return 1 if failed else 0


def _points(runs: Sequence[Run], axis: str) -> list[tuple[Any, list[Run]]]:
    """Return (place on the axis, runs that differ in their seed only), along each curve."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        result = run.result
        place = result[axis]
        number = -1.0 if place == "linear" else float(place)
        name = str(result["source"]).partition("@")[0] if axis == "channels" else result["source"]
        key = (name, result["array"] if axis != "channels" else result["block"] or 0, result["control"], number)
        groups.setdefault((*key, result["source"], result["array"]), []).append(run)
    ordered = sorted(groups.items(), key=lambda item: item[0])
    return [(runs[0].result[axis], sorted(runs, key=lambda run: run.seed)) for _, runs in ordered]


def intervals_of(runs: Sequence[Run], resamples: int) -> dict[str, Interval]:
    """Return metric -> estimate with its interval on the report split, of runs that differ in their seed only.

    Args:
        runs: one per seed.
        resamples: of the bootstrap over rooms.

    Raises:
        MissingError: tables of a run are gone.
    """
    scored = score(runs, report_clips(runs, resamples, CONFIDENCE, SEED), pooled=load_task(runs[0].task).pooled)
    if scored.gap:
        raise MissingError(
            f"no intervals: {scored.gap}", where=runs[0].folder, fix=train_command(runs[0].result, force="true")
        )
    return {name: found.interval for name, found in scored.scores.items()}


def _text(interval: Interval | None) -> str | None:
    if interval is None or math.isnan(interval.value):
        return None
    if math.isnan(interval.low):
        return f"{interval.value:.4g}"
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}]"


def _title(metric: str) -> str:
    info = find_metric(metric)
    return info.title if info else metric
