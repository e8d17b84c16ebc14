"""What `train` and `runs` print: finished runs as a table, interrupted ones with their progress."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from configs import commands
from configs.console import print_table
from configs.errors import SpatialprobeError
from configs.files import results_path, runs_path
from probe.config import RunsConfig
from probe.results import results
from probe.results.repeat import train_command
from probe.results.stale import staleness
from probe.results.survey import PARQUET, survey, tabulate
from probe.task import find_metric, load_task


def print_results(found: Sequence[Mapping[str, Any]], root: str | None) -> None:
    """Print one row per run with the table's columns of its task."""
    for task in dict.fromkeys(result["task"] for result in found):
        rows = [result for result in found if result["task"] == task]
        keys = _columns(task, rows)
        titles = [info.title if (info := find_metric(key)) else key for key in keys]
        columns = ["run", "source", "dataset", "layer", "depth", "seed", "control", *titles]
        print_table(
            f"{task}, report split, {', '.join(sorted({row['profile'] for row in rows}))}",
            columns,
            [[*_facts(row), *(_value(row, key) for key in keys)] for row in rows],
            notes=[note for row in rows for note in _notes(row)],
        )
    if found:
        print(f"{results_path(root) / PARQUET}")


def print_summary(found: Mapping[str, Any]) -> None:
    """Print every metric of one evaluation with its interval."""
    rows = [
        [key, row["value"], row.get("estimate"), row["low"], row["high"], row["n"], row["undefined"]]
        for key, row in found["metrics"].items()
    ]
    title = f"run {found['run_id']} on {found['split']} of {found['dataset']}, plan {found['plan']}, {found['variant']}"
    print_table(title, ["metric", "value", "for such rooms", "low", "high", "clips", "undefined"], rows)


def print_runs(config: RunsConfig) -> None:
    """List the runs that `probe runs` asks for."""
    if config.unfinished:
        _print_unfinished(config)
        return
    there = survey(config.root)
    tabulate(config.root, there)
    found = [result for result in there.whole if _wanted(result, config)]
    if not found:
        command = commands.probe("train", task=commands.ANY, root=config.root)
        print(f"no finished run in {results_path(config.root)}; {command} makes one")
    found.sort(key=lambda r: (r["task"], r["source"], r["array"], r["depth"], r["seed"]))
    compared = staleness(config.root, found)
    print_results([result for result in found if result["run_id"] not in compared.stale], config.root)
    for dataset, why in compared.unchecked.items():
        print(f"dataset {dataset} can't be compared with what its results were computed from: {why}")
    _print_stale([result for result in found if result["run_id"] in compared.stale], compared.stale, config.root)
    print_left_out(there.left_out)


def print_left_out(left_out: Mapping[str, str]) -> None:
    """Print the runs that are not listed because something about them has changed, and what helps."""
    for run_id, reason in left_out.items():
        print(f"left out: run {run_id}: {reason}")


def _print_stale(found: Sequence[Mapping[str, Any]], why: Mapping[str, str], root: str | None) -> None:
    """List runs whose dataset has changed since, with the commands that train them again."""
    if not found:
        return
    rows = [[r["run_id"], r["task"], r["source"], r["array"], r["seed"], why[r["run_id"]]] for r in found]
    again = dict.fromkeys(train_command(result, store=False, root=root) for result in found)
    notes = ["to train them again, on features of the dataset as it is now:", *again]
    columns = ["run", "task", "source", "layer", "seed", "what has changed"]
    print_table(f"{len(rows)} stale results, not to be compared with others", columns, rows, notes=notes)


def _wanted(facts: Mapping[str, Any], config: RunsConfig) -> bool:
    wanted = {"task": config.task, "source": config.model, "dataset": config.dataset}
    return all(value is None or facts[key] == value for key, value in wanted.items())


def _print_unfinished(config: RunsConfig) -> None:
    rows = []
    left_out: dict[str, str] = {}
    for path in sorted(runs_path(config.root).glob("*/run.json")):
        run_id = path.parent.name
        if results.result_file(config.root, run_id).is_file():
            continue
        try:
            facts = results.read_facts(path, f"delete {path.parent}, or train the run again, which writes {path.name}")
        except SpatialprobeError as error:
            left_out[run_id] = f"{error.problem} ({error.where}); {error.fix}"
            continue
        if not _wanted(facts, config):
            continue
        done = results.rounds_logged(config.root, run_id)
        rows.append([run_id, facts["task"], facts["source"], facts["dataset"], facts["array"], facts["seed"], done])
    columns = ["run", "task", "source", "dataset", "layer", "seed", "rounds done"]
    print_table(f"{len(rows)} unfinished runs", columns, rows, notes=["the same `train` command continues a run"])
    print_left_out(left_out)


def _columns(task: str, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The published table's columns that these runs have, else the task's headline."""
    known = {key for row in rows for key in row["report"]}
    declared = load_task(task)
    columns = [key for key, metric in declared.metrics.items() if metric.header and key in known]
    bounds = [key for key, metric in declared.metrics.items() if metric.bounds == declared.headline and key in known]
    return columns + bounds or [declared.headline]


def _facts(row: Mapping[str, Any]) -> list[Any]:
    return [row["run_id"], row["source"], row["dataset"], row["array"], row["depth"], row["seed"], row["control"]]


def _value(row: Mapping[str, Any], key: str) -> float | None:
    value: float | None = row["report"].get(key, {}).get("value")
    return value


def _notes(row: Mapping[str, Any]) -> list[str]:
    notes = []
    if row.get("selectivity"):
        key = load_task(row["task"]).headline
        better = row["selectivity"].get(key, float("nan"))
        notes.append(f"gain of {row['control_of']} over its shuffled twin: {key} {better:.4g}")
    if row.get("control_task"):
        notes += _selectivity(row)
    found = results.compressions(row.get("mdl", {}))
    against = {"compression": "class rates", "uniform_compression": "a uniform code"}
    if found:
        times = ", ".join(f"{found[key]:.3g} to 1 against {name}" for key, name in against.items() if key in found)
        notes.append(f"online code of {row['run_id']}: {row['mdl']['bits']:.5g} bits, {times}")
    return notes


def _selectivity(row: Mapping[str, Any]) -> list[str]:
    """Return the selectivity of a run by its main metric, as its control tasks say, or why there is none."""
    found, key = row["control_task"], load_task(row["task"]).headline
    if "metrics" not in found:
        reason = f"selectivity of {row['run_id']} is not available: {found.get('reason', 'no reason')}"
        return [f"{reason}; {found['fix']}" if found.get("fix") else reason]
    score = found["metrics"].get(key)
    if score is None or score["value"] is None:
        return [f"selectivity of {row['run_id']} by {key} is undefined"]
    ends = "" if score["low"] is None else f", 95 % from {score['low']:.4g} to {score['high']:.4g}"
    return [f"selectivity of {row['run_id']}: {key} {score['value']:.4g}{ends}, {found['draws']} draws"]
