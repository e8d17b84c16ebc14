"""What the paired tests of one task say: ranking, kinds of models, twins, and what was only explored."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from probe.report.contract import Statement
from probe.report.phrases import count, header, listed, p_text, shown
from probe.report.scores.boards import Board
from probe.report.scores.entries import Entry
from probe.report.scores.families import PRIMARY, Comparison
from probe.report.scores.paired import common_estimates
from probe.report.tables.comparison_tables import pair_cell
from probe.report.tables.frames import score_cell
from probe.task import task_title

_QUESTIONS = {
    "kinds": "vision-language against video generation models",
    "twins": "each model against its untrained twin",
    "models": "each pair of models",
    "ceiling": "ground truth as features against each model",
    "floor": "each model against position and pixels",
    "origin": "each model against its input",
    "fusion": "each fusion against its parts",
    "same width": "each fusion against controls of the same width",
    "ceiling, average": "ground truth as features against the models together",
    "floor, average": "the models together against position and pixels",
}
_SHOWN = 3
"""Exploratory comparisons of a family that are named; tables hold all."""


def findings(board: Board, task: str, comparisons: Sequence[Comparison]) -> list[Statement]:
    """Return the statements of one task on one board.

    Args:
        board: the board.
        task: a task that it has.
        comparisons: of the task's main setting.
    """
    found = ranking([entry for entry in board.entries[task] if entry.chosen], task)
    for family in _QUESTIONS:
        some = [item for item in comparisons if item.family == family]
        if some:
            found += _family(family, some, task)
    return found


def ranking(entries: Sequence[Entry], task: str) -> list[Statement]:
    """Say the order by the main metric on the clips that all have, without claiming that neighbours differ."""
    if not entries:
        return []
    metric = entries[0].main_metric
    known = [entry for entry in entries if (score := entry.score(metric)) is not None and score.estimate is not None]
    estimates = common_estimates(known, metric) if known else ""
    if isinstance(estimates, str):
        return []
    values = {entry.id: estimate.value for entry, estimate in zip(known, estimates, strict=True)}
    known = [entry for entry in known if math.isfinite(values[entry.id])]
    better = entries[0].metrics[metric].better
    known.sort(key=lambda entry: -values[entry.id] if better == "higher" else values[entry.id])
    if len(known) < 2:
        return []
    order = listed([f"{entry.label} {shown(metric, values[entry.id])}" for entry in known], most=12)
    clips = min(estimate.n_clips for estimate in estimates)
    every = max(score.interval.n_clips + score.undefined for e in known if (score := e.score(metric)) is not None)
    where = "" if clips == every else f" on the {count(clips, 'clip')} of {every} on which all have a value"
    text = f"{task_title(task)}, ordered by {header(metric)} ({better} is better){where}: {order}."
    tail = " The order alone is no evidence; the paired tests are."
    return [Statement("finding", text + tail, tuple(score_cell(entry, metric) for entry in known), task)]


def _family(family: str, items: Sequence[Comparison], task: str) -> list[Statement]:
    tested = [item for item in items if not math.isnan(item.p_corrected)]
    title, question = task_title(task), _QUESTIONS[family]
    if not tested:
        why = next((item.pair.reason for item in items if item.pair.reason), "both sides read the same features")
        return [Statement("limit", f"{title}, {question}: nothing could be tested ({why}).", (), task)]
    if family not in PRIMARY:
        return [_explored(family, tested, task)]
    metric, size = tested[0].pair.metric, tested[0].size
    apart = [item for item in tested if item.verdict.endswith("better")]
    every = count(size, "comparison")
    over = f" of all tasks ({every})" if size > len(tested) else f" for {every}" if size > 1 else ""
    if not apart:
        text = (
            f"{title}, {question}: by {header(metric)} {'none differs' if len(tested) > 1 else 'no difference shows'} "
            f"(smallest {p_text(min(item.p_corrected for item in tested))}, corrected{over}). That is no proof of "
            "equality."
        )
        return [Statement("limit", text, tuple(map(pair_cell, tested)), task)]
    text = (
        f"{title}, {question}: {len(apart)} of {len(tested)} {'differs' if len(apart) == 1 else 'differ'} by "
        f"{header(metric)}, corrected{over}: {listed([_said(item) for item in _largest(apart)])}."
    )
    return [Statement("finding", text, tuple(map(pair_cell, apart)), task)]


def _explored(family: str, tested: Sequence[Comparison], task: str) -> Statement:
    """Name the largest differences of a family from which nothing is concluded."""
    first = sorted(tested, key=lambda item: (item.p_corrected, -abs(item.pair.advantage)))[:_SHOWN]
    metric = first[0].pair.metric
    text = (
        f"{task_title(task)}, {_QUESTIONS[family]}, {count(len(tested), 'comparison')} by {header(metric)}; the "
        f"{'clearest: ' if len(tested) > 1 else 'difference: '}{listed([_said(item) for item in first])}."
    )
    return Statement("exploratory", text, tuple(map(pair_cell, first)), task)


def _largest(items: Sequence[Comparison]) -> list[Comparison]:
    return sorted(items, key=lambda item: -abs(item.pair.advantage))


def _said(item: Comparison) -> str:
    pair, interval = item.pair, item.pair.interval
    better, worse = (item.a, item.b) if pair.advantage >= 0 else (item.b, item.a)
    ends = sorted((abs(interval.low), abs(interval.high)))
    if interval.low * interval.high < 0:
        sign = 1.0 if interval.value >= 0 else -1.0
        ends = sorted((sign * interval.low, sign * interval.high))
    between = "" if any(map(math.isnan, ends)) else f" [{shown(pair.metric, ends[0])}, {shown(pair.metric, ends[1])}]"
    size = shown(pair.metric, float(np.abs(pair.advantage)))
    return f"{better.label} over {worse.label} by {size}{between} ({p_text(item.p_corrected)})"
