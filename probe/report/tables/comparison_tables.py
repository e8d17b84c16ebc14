"""Tables of comparisons: pairs by the main metric, models beside their controls, selectivity and code length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from probe.report.columns import task_columns
from probe.report.scores.entries import Entry
from probe.report.scores.families import Comparison, controls_of, subjects
from probe.report.scores.paired import paired
from probe.report.tables.frames import cell_id, defined, score_cell, where
from probe.results.results import compressions
from probe.task import load_task

Rows = list[dict[str, Any]]
CONTROL_TASK = "control task"


def pair_rows(found: Sequence[Comparison]) -> Rows:
    """Return table `pairs`."""
    return [_pair(item) for item in found]


def pair_cell(item: Comparison) -> str:
    """Return the id of a comparison's difference."""
    return cell_id("pair", item.family, item.a.id, item.b.id, item.pair.metric)


def _pair(item: Comparison) -> dict[str, Any]:
    pair, interval = item.pair, item.pair.interval
    row: dict[str, Any] = {
        "setting": item.a.setting.id,
        "task": item.a.task,
        "metric": pair.metric,
        "better": item.a.metrics[pair.metric].better,
        "family": item.family,
    }
    for name, entry, value in (("a", item.a, pair.a_value), ("b", item.b, pair.b_value)):
        row |= {name: entry.id, f"{name}_source": entry.source.name, f"{name}_label": entry.label}
        row[f"{name}_value"] = defined(value)
    return row | {
        "difference": defined(interval.value),
        "low": defined(interval.low),
        "high": defined(interval.high),
        "advantage": defined(pair.advantage),
        "effect": defined(pair.effect),
        "rooms_better": defined(pair.rooms_better),
        "p": defined(pair.p),
        "p_corrected": defined(item.p_corrected),
        "p_smallest": defined(pair.smallest),
        "comparisons": item.size,
        "n_clips": interval.n_clips,
        "n_rooms": interval.n_groups,
        "n_seeds": f"{len(item.a.runs)}, {len(item.b.runs)}",
        "test": pair.test,
        "verdict": item.verdict,
        "cell": pair_cell(item),
    }


def control_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `controls`: every column of its task, each subject beside each control."""
    rows: Rows = []
    for entry in subjects(entries):
        for control in controls_of(entry, entries):
            for column in task_columns(entry.task):
                if entry.score(column.metric) is None or control.score(column.metric) is None:
                    continue
                pair = paired(entry, control, column.metric)
                rows.append(
                    {
                        **where(entry),
                        "control": control.role,
                        "control_source": control.source.name,
                        "control_label": control.label,
                        "metric": column.metric,
                        "better": column.better,
                        "value": defined(pair.a_value),
                        "control_value": defined(pair.b_value),
                        "difference": defined(pair.interval.value),
                        "low": defined(pair.interval.low),
                        "high": defined(pair.interval.high),
                        "advantage": defined(pair.advantage),
                        "cell": cell_id("control", entry.id, control.id, column.metric),
                        "value_cell": score_cell(entry, column.metric),
                        "control_cell": score_cell(control, column.metric),
                    }
                )
    return rows


def selectivity_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `selectivity`: from control tasks, from shuffled twins, and from online codes."""
    rows: Rows = []
    for entry in entries:
        rows += _of_control_tasks(entry)
        own = {run.run_id for run in entry.runs}
        twins = [run for run in entry.setting.runs if run.result["control"] and run.result.get("control_of") in own]
        names = dict.fromkeys(name for twin in twins for name in twin.result.get("selectivity", {}))
        for name in names:
            some = [t for t in twins if t.result["selectivity"].get(name) is not None]
            values = [float(twin.result["selectivity"][name]) for twin in some]
            rows.append(_measured(entry, name, values, [twin.run_id for twin in some], "shuffled twin"))
        codes = {run.run_id: compressions(run.result.get("mdl") or {}) for run in entry.runs}
        for name, against in (("compression", "class rates"), ("uniform_compression", "uniform code")):
            known = {run_id: code[name] for run_id, code in codes.items() if name in code}
            if known:
                rows.append(_measured(entry, f"mdl.{name}", list(known.values()), list(known), against))
    return rows


def _of_control_tasks(entry: Entry) -> Rows:
    """Return the selectivity by each metric; one row with the reason if it is not available."""
    found = {run.run_id: run.result["control_task"] for run in entry.runs if run.result.get("control_task")}
    rows: Rows = []
    for name in dict.fromkeys(key for one in found.values() for key in one.get("metrics", {})):
        some = {run: one["metrics"][name] for run, one in found.items() if name in one.get("metrics", {})}
        known = {run: row for run, row in some.items() if row["value"] is not None}
        if not known:
            continue
        row = _measured(entry, name, [row["value"] for row in known.values()], list(known), CONTROL_TASK)
        row["cell"] = cell_id("control task", entry.id, name)
        if len(known) == 1:  # the interval of a mean over seeds is not the mean of their intervals
            (only,) = known.values()
            row |= {"low": only["low"], "high": only["high"]}
        rows.append(row)
    reasons = dict.fromkeys(str(one["reason"]) for one in found.values() if one.get("reason"))
    if not rows and reasons:
        about = {"metric": load_task(entry.task).headline, "against": CONTROL_TASK, "reason": "; ".join(reasons)}
        rows.append({**where(entry), **about, "n_seeds": len(found), "runs": ",".join(found)})
    return rows


def _measured(entry: Entry, metric: str, values: Sequence[float], runs: Sequence[str], against: str) -> dict[str, Any]:
    return {
        **where(entry),
        "metric": metric,
        "against": against,
        "value": float(np.mean(values)),
        "cell": cell_id("selectivity", entry.id, metric),
        "n_seeds": len(values),
        "runs": ",".join(runs),
    }
