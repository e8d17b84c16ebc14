"""What a sweep prints: one row per layer and noise level, means over seeds, the layer that the select split picks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from configs import commands
from configs.console import print_table
from configs.files import results_path
from probe.results import results
from probe.results.survey import PARQUET
from probe.task import find_metric, load_task
from probe.train.plan import Planned

Row = Mapping[str, Any]
KEYS = ("source", "array", "depth", "control")
"""What makes a point of a curve; runs that differ in their seed only are averaged."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Results of a sweep.

    Attributes:
        results: of the finished runs, in the order of sources, arrays, depths and seeds.
        failed: label of a run -> why it has no result.
    """

    results: list[dict[str, Any]]
    failed: dict[str, str]


def outcome_of(planned: Planned, failed: Mapping[str, str]) -> Outcome:
    """Return the results of a sweep, given the ids of the runs that failed and the reasons."""
    plans, root = planned.plans, planned.config.where.root
    found = [results.find(root, plan.run_id) for plan in plans if plan.run_id not in failed]
    labels = {plan.run_id: plan.label for plan in plans}
    return Outcome(
        [result for result in found if result is not None],
        {labels[run_id]: reason for run_id, reason in failed.items()},
    )


def print_curves(found: Sequence[Row]) -> None:
    """Print the curves of a sweep; the best layer of each source, depth and control on the select split is marked."""
    if not found:
        return
    task = found[0]["task"]
    declared = load_task(task)
    headline = declared.headline
    known = {key for row in found for key in row["report"]}
    shown = [key for key, metric in declared.metrics.items() if metric.header and key in known]
    points = _points(found)
    best = chosen(points, headline)
    rows = []
    for key, runs in points.items():
        first = runs[0]
        rows.append(
            [
                "*" if key in best else "",
                first["source"],
                first["array"],
                _percent(first["relative_depth"]),
                first["noise_level"],
                first["depth"],
                first["control"],
                len(runs),
                mean(runs, "select", headline),
                *(mean(runs, "report", metric) for metric in shown or [headline]),
            ]
        )
    titles = [_title(key) for key in (shown or [headline])]
    columns = [
        "",
        "source",
        "layer",
        "at %",
        "noise",
        "depth",
        "control",
        "seeds",
        f"select {_title(headline)}",
        *titles,
    ]
    empty = [i for i, name in enumerate(columns) if name in ("noise", "control") and not any(row[i] for row in rows)]
    keep = [i for i in range(len(columns)) if i not in empty]
    print_table(
        f"{task}, report split, {first['dataset']}, {', '.join(sorted({row['profile'] for row in found}))}",
        [columns[i] for i in keep],
        [[row[i] for i in keep] for row in rows],
        notes=["* chosen on the select split, which the other columns have not seen; means over seeds"],
    )


def print_outcome(outcome: Outcome, root: str | None) -> int:
    """Print the curves and what failed; return the exit code."""
    print_curves(outcome.results)
    for label, reason in outcome.failed.items():
        print(f"failed: {label}: {reason}")
    if outcome.failed:
        print("the same command tries them again")
    if outcome.results:
        print(f"{results_path(root) / PARQUET}; {commands.probe('report', root=root)} draws the curves")
    return 1 if outcome.failed else 0


def chosen(points: Mapping[tuple[Any, ...], Sequence[Row]], metric: str) -> set[tuple[Any, ...]]:
    """Return for each source, depth and control the point with the best mean of a metric on the select split."""
    best: dict[tuple[Any, ...], tuple[float, tuple[Any, ...]]] = {}
    info = find_metric(metric)
    sign = -1.0 if info and info.better != "higher" else 1.0
    for key, runs in points.items():
        value = mean(runs, "select", metric)
        curve = (key[0], *key[2:])
        if value is not None and (curve not in best or sign * value > best[curve][0]):
            best[curve] = (sign * value, key)
    return {key for _, key in best.values()}


def mean(runs: Sequence[Row], split: str, metric: str) -> float | None:
    """Return the mean of a metric over runs; None if one of them lacks it."""
    values = [run[split].get(metric, {}).get("value") for run in runs]
    known = [float(value) for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if len(known) == len(values) else None


def _points(found: Sequence[Row]) -> dict[tuple[Any, ...], list[Row]]:
    points: dict[tuple[Any, ...], list[Row]] = {}
    for row in found:
        points.setdefault(tuple(row[key] for key in KEYS), []).append(row)
    return points


def _percent(depth: float | None) -> int | None:
    return None if depth is None else round(100 * depth)


def _title(metric: str) -> str:
    info = find_metric(metric)
    return info.title if info else metric
