"""Main table in the published layout, scatter of semantics against geometry, and profile of each model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from probe.metrics.statistics import contrast
from probe.report.columns import COLUMNS, PANEL_TASKS, SCATTER_COLUMNS, TASK_TITLES, Column
from probe.report.published import published_of, published_rows
from probe.report.scores.boards import SECTIONS, Board, Line
from probe.report.scores.choices import simultaneous_interval
from probe.report.scores.entries import Entry, counted, on_paper_layer
from probe.report.scores.paired import common_estimates
from probe.report.tables.frames import cell_id, defined, score_cell
from probe.task import load_task

Rows = list[dict[str, Any]]
_PARTS = ("on_clips", "low", "high", "n_clips", "n_rooms", "n_seeds", "cell")


def main_rows(boards: Sequence[Board], kinds: Mapping[str, str]) -> Rows:
    """Return table `main`: each line of ours, the published figures under it and the difference; then averages.

    A difference is made only where a store certainly holds the published weights at full size; random weights are
    never compared with the published figures.

    Args:
        boards: the boards.
        kinds: dataset -> what it was prepared from.
    """
    rows: Rows = []
    for board in boards:
        for section in SECTIONS.values():
            lines = [_published_tasks(line) for line in board.lines if line.section == section]
            lines = [line for line in lines if line.entries]
            for line in lines:
                rows += _line(board, line, kinds)
            kind = next(key for key, value in SECTIONS.items() if value == section)
            if kind in ("vgm", "vlm"):
                rows += _averages(board, section, kind, lines)
    return rows


def _published_tasks(line: Line) -> Line:
    return Line({task: entry for task, entry in line.entries.items() if task in TASK_TITLES})


def _line(board: Board, line: Line, kinds: Mapping[str, str]) -> Rows:
    entry = line.any
    about = {
        "board": board.id,
        "section": line.section,
        "source": entry.source.name,
        "store": entry.source.store,
        "role": entry.role,
        "untrained": entry.source.untrained,
        "n_models": 1,
    }
    layers = "; ".join(f"{task}: {e.facts['array']}" for task, e in line.entries.items())
    ours: dict[str, Any] = {**about, "origin": "ours", "label": entry.label, "layers": layers, "note": ""}
    for column in COLUMNS:
        ours |= _ours(board, line.entries.get(column.task), column)
    printed = published_of(entry.source.base) if entry.role in ("model", "untrained twin") else None
    if printed is None:
        return [ours]
    rows = [ours, _published(about, printed)]
    if entry.source.genuine:
        rows.append(_difference(about, ours, printed, line, kinds))
    return rows


def _ours(board: Board, entry: Entry | None, column: Column) -> dict[str, Any]:
    if entry is None or entry.score(column.metric) is None:
        return {}
    found = simultaneous_interval(entry, column.metric, board.entries[column.task])
    values = (
        defined(entry.scored.scores[column.metric].on_clips), defined(found.low), defined(found.high),
        found.n_clips, found.n_groups, len(entry.runs),
        score_cell(entry, column.metric),
    )  # fmt: skip
    parts = {f"{column.metric}.{part}": value for part, value in zip(_PARTS, values, strict=True)}
    return {column.metric: defined(found.value), **parts}


def _published(about: Mapping[str, Any], printed: Mapping[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {**about, "origin": "published", "label": f"{printed['name']}, published", "layers": ""}
    row |= {"role": "model", "untrained": False, "note": ""}
    for column in COLUMNS:
        row |= {column.metric: printed[column.metric]}
        row |= {f"{column.metric}.cell": cell_id("published", printed["source"], column.metric)}
    return row


def _difference(
    about: Mapping[str, Any], ours: Mapping[str, Any], printed: Mapping[str, Any], line: Line, kinds: Mapping[str, str]
) -> dict[str, Any]:
    row: dict[str, Any] = {**about, "origin": "difference", "label": f"{ours['label']}, ours - published"}
    row |= {"layers": "", "note": "; ".join(dict.fromkeys(n for e in line.entries.values() for n in unlike(e, kinds)))}
    for column in COLUMNS:
        if ours.get(f"{column.metric}.on_clips") is None:
            continue
        base = printed[column.metric]
        row[column.metric] = ours[f"{column.metric}.on_clips"] - base
        row[f"{column.metric}.cell"] = cell_id(
            "difference", about["board"], about["source"], about["store"], column.metric
        )
    return row


def unlike(entry: Entry, kinds: Mapping[str, str]) -> list[str]:
    """Return in what an entry's protocol differs from that of the published table; empty if like for like."""
    key, options = entry.setting.key, entry.setting.key["options"]
    queries = f"paper-{load_task(entry.task).paper_queries}"
    found = [] if kinds.get(key["dataset"]) == "scannet" else [f"dataset {key['dataset']} instead of ScanNet"]
    names = [name for name in ("profile", "variant", "split_scheme") if options.get(name) != "paper"]
    found += [f"{name} {options.get(name)} instead of paper" for name in names]
    if key["queries"] != queries:
        found.append(f"{entry.task}: queries {key['queries']} instead of {queries}")
    if not on_paper_layer(entry):
        found.append(f"{entry.task}: layer {entry.facts['array']}, not the published one")
    return found


def _averages(board: Board, section: str, kind: str, lines: Sequence[Line]) -> Rows:
    """Average over the models of a kind, trained and untrained apart, and over the published ones."""
    rows: Rows = []
    for untrained in (False, True):
        some = [line for line in lines if line.any.source.untrained is untrained]
        if len(some) > 1:
            rows.append(_average(board, section, some, untrained))
    if lines:
        printed = [row for row in published_rows() if row["kind"] == kind]
        row: dict[str, Any] = {
            "board": board.id, "section": section, "origin": "published average", "role": "model", "untrained": False,
            "label": f"Average of {len(printed)} models, published", "layers": "", "n_models": len(printed), "note": "",
        }  # fmt: skip
        for column in COLUMNS:
            row[column.metric] = float(np.mean([r[column.metric] for r in printed]))
            row[f"{column.metric}.cell"] = cell_id("published average", board.id, kind, column.metric)
        rows.append(row)
    return rows


def _average(board: Board, section: str, lines: Sequence[Line], untrained: bool) -> dict[str, Any]:
    role = word = "untrained twin" if untrained else "model"
    row: dict[str, Any] = {
        "board": board.id, "section": section, "origin": "average", "role": role, "untrained": untrained,
        "label": f"Average of {counted([line.any for line in lines], word)}", "layers": "",
        "n_models": len(lines), "note": "",
    }  # fmt: skip
    for column in COLUMNS:
        entries = [line.entries[column.task] for line in lines if column.task in line.entries]
        scores = [score for entry in entries if (score := entry.score(column.metric)) is not None]
        values = [score.interval.value for score in scores]
        if len(scores) < len(lines) or not np.isfinite(values).all():
            continue  # an average over other models than the line says would mislead
        row[column.metric] = float(np.mean(values))
        row[f"{column.metric}.cell"] = cell_id("average", board.id, section, untrained, column.metric)
        row[f"{column.metric}.n_clips"] = min(score.interval.n_clips for score in scores)
        row[f"{column.metric}.n_seeds"] = min(len(entry.runs) for entry in entries)
        clips, estimates = entries[0].clips, common_estimates(entries, column.metric)
        if clips is not None and not isinstance(estimates, str):
            found = clips.interval(contrast([1 / len(estimates)] * len(estimates), estimates))
            row[column.metric] = defined(found.value)
            row |= {f"{column.metric}.low": defined(found.low), f"{column.metric}.high": defined(found.high)}
            row[f"{column.metric}.n_rooms"] = found.n_groups
    return row


def scatter_rows(boards: Sequence[Board]) -> Rows:
    """Return table `scatter`: our lines that have the tasks of the first panel, and all published models."""
    rows: Rows = []
    for board in boards:
        for line in board.lines:
            if not PANEL_TASKS or not set(PANEL_TASKS) <= set(line.entries):
                continue
            values = {
                column.metric: defined(score.interval.value)
                for column in SCATTER_COLUMNS
                if (entry := line.entries.get(column.task)) and (score := entry.score(column.metric))
            }
            source = line.any.source
            rows.append(
                {"board": board.id, "origin": "ours", "source": source.name, "label": line.any.label,
                 "kind": source.kind, "role": line.any.role, "untrained": source.untrained, **values}
            )  # fmt: skip
    for printed in published_rows():
        about = {"board": "", "origin": "published", "label": printed["name"], "role": "model", "untrained": False}
        keys = ("source", "kind", *(column.metric for column in SCATTER_COLUMNS))
        rows.append({**about, **{key: printed[key] for key in keys}})
    return rows


def radar_rows(boards: Sequence[Board]) -> Rows:
    """Return table `radar`: every model between position only (0) and the oracle (1)."""
    rows: Rows = []
    for board in boards:
        for line in board.lines:
            if line.section == SECTIONS["control"]:
                continue
            for column in COLUMNS:
                entry = line.entries.get(column.task)
                if entry is not None and entry.score(column.metric) is not None:
                    rows.append(_spoke(board, entry, column))
    return rows


def _spoke(board: Board, entry: Entry, column: Column) -> dict[str, Any]:
    ends: dict[str, float | None] = {}
    for name, role in (("floor", "position"), ("ceiling", "oracle")):
        other = board.chosen(column.task, role) or (board.fused_oracles(column.task) if role == "oracle" else None)
        score = other.score(column.metric) if other else None
        ends[name] = defined(score.interval.value) if score else None
    floor, ceiling = ends["floor"], ends["ceiling"]
    score = entry.scored.scores[column.metric]
    row: dict[str, Any] = {
        "board": board.id, "source": entry.source.name, "label": entry.label, "role": entry.role,
        "untrained": entry.source.untrained, "metric": column.metric, **ends,
        "cell": score_cell(entry, column.metric), "reason": "",
    }  # fmt: skip
    if floor is None or ceiling is None:
        missing = " and ".join(role for role, end in (("position", floor), ("oracle", ceiling)) if end is None)
        return {**row, "reason": f"no single {missing} in this setting"}
    span = ceiling - floor
    if (span if column.better == "higher" else -span) <= 0:
        return {**row, "reason": "the oracle is not better than position only"}
    found = score.interval
    scaled = [defined((value - floor) / span) for value in (found.value, found.low, found.high)]
    low, high = (scaled[1], scaled[2]) if span > 0 else (scaled[2], scaled[1])
    return {
        **row,
        "normalised": scaled[0],
        "low": low,
        "high": high,
        "reason": found.reason if scaled[0] is None else "",
    }
