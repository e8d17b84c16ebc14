"""What the paired tests of one task say: ranking, ceiling, floor, models against each other, fusions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from configs import commands
from probe.metrics.comparison import smallest_p
from probe.report.contract import Statement, Topic
from probe.report.phrases import count, header, listed, p_text, shown
from probe.report.scores.boards import Board
from probe.report.scores.entries import Entry
from probe.report.scores.families import Comparison
from probe.report.scores.paired import ALPHA
from probe.report.tables.comparison_tables import pair_cell
from probe.report.tables.frames import score_cell
from probe.task import task_title

_QUESTIONS = {
    "kinds": "vision-language against video generation models",
    "ceiling": "ground truth as features against each model",
    "floor": "each model against position and pixels",
    "origin": "each model against its untrained twin or its input",
    "models": "each pair of models",
    "fusion": "each fusion against its parts",
    "ceiling, average": "ground truth as features against the models together",
    "floor, average": "the models together against position and pixels",
}


SHIFT = 0.2
"""Share of an interval's width by which resampling may move a metric unmentioned."""


def findings(board: Board, task: str, comparisons: Sequence[Comparison]) -> list[Statement]:
    """Return the statements of one task on one board.

    Args:
        board: the board.
        task: a task that it has.
        comparisons: of the task's main setting.
    """
    entries = [entry for entry in board.entries[task] if entry.chosen]
    found, hopeless = ranking(entries, task), []
    for family in _QUESTIONS:
        some = [item for item in comparisons if item.family == family]
        if some and _out_of_reach(some):
            hopeless.append(some)
        elif some:
            found += _family(family, some, task)
    return found + _hopeless(hopeless, task)


def _out_of_reach(items: Sequence[Comparison]) -> bool:
    """Return whether so few rooms, or resamples, are compared so often that no corrected p value could be small."""
    tested = _tested(items)
    return bool(tested) and min(item.pair.smallest for item in tested) * tested[0].size >= ALPHA


def _tested(items: Sequence[Comparison]) -> list[Comparison]:
    return [item for item in items if not math.isnan(item.p_holm)]


def _hopeless(families: Sequence[Sequence[Comparison]], task: str) -> list[Statement]:
    """Say which questions stay open whatever the features hold, and how many rooms or resamples would do."""
    found = []
    for few_rooms in (True, False):
        some = [tested for tested in map(_tested, families) if _lacks_rooms(tested) is few_rooms]
        if not some:
            continue
        largest = max(tested[0].size for tested in some)
        what = f"{count(max(map(_rooms, some)), 'room')} in the report split" if few_rooms else "so few resamples"
        text = (
            f"{task_title(task)}: with {what}, no test could show a difference after correction, "
            f"whatever the features hold, for {listed([_question(tested, few_rooms) for tested in some])}."
        )
        if not few_rooms:
            command = commands.probe("report", resamples=math.ceil(4 * largest / ALPHA))
            text += f" `{commands.portable(command)}` draws enough."
        cells = tuple(pair_cell(item) for tested in some for item in tested)
        found.append(Statement("limit", text, cells, task))
    return found


def _rooms(tested: Sequence[Comparison]) -> int:
    return max(item.pair.interval.n_groups for item in tested)


def _lacks_rooms(tested: Sequence[Comparison]) -> bool:
    return smallest_p(_rooms(tested)) * tested[0].size >= ALPHA


def _question(tested: Sequence[Comparison], few_rooms: bool) -> str:
    size = tested[0].size
    ahead = sum(item.pair.advantage > 0 for item in tested)
    seen = "" if tested[0].family == "models" else f", the first side ahead in {ahead}"
    needed = f"; from {math.ceil(math.log2(size / ALPHA)) + 1} rooms on" if few_rooms else ""
    return f"{_QUESTIONS[tested[0].family]} ({count(size, 'comparison')}{seen}{needed})"


def ranking(entries: Sequence[Entry], task: str) -> list[Statement]:
    """Say the order by the main metric, without claiming that neighbours differ."""
    if not entries:
        return []
    metric = entries[0].main_metric
    values = {entry.id: score.interval.value for entry in entries if (score := entry.score(metric)) is not None}
    known = [entry for entry in entries if math.isfinite(values.get(entry.id, math.nan))]
    better = entries[0].metrics[metric].better
    known.sort(key=lambda entry: -values[entry.id] if better == "higher" else values[entry.id])
    if len(known) < 2:
        return []
    order = listed([f"{entry.label} {shown(metric, values[entry.id])}" for entry in known], most=12)
    text = f"{task_title(task)}, ordered by {header(metric)} ({better} is better): {order}."
    tail = " The order alone is no evidence; the paired tests are."
    return [Statement("finding", text + tail, tuple(score_cell(entry, metric) for entry in known), task)]


def _family(family: str, items: Sequence[Comparison], task: str) -> list[Statement]:
    tested = [item for item in items if item.verdict not in ("no test", "same features")]
    cells = tuple(pair_cell(item) for item in tested)
    if not tested:
        why = next((item.pair.reason for item in items if item.pair.reason), "both sides read the same features")
        text = f"{task_title(task)}, {_QUESTIONS[family]}: nothing could be tested ({why})."
        return [Statement("limit", text, (), task)]
    if family.startswith("ceiling"):
        return _against(tested, task, "a")
    if family.startswith(("floor", "origin")):
        return _against(tested, task, "b")
    return _between(family, tested, task, cells)


def _against(items: Sequence[Comparison], task: str, control_side: str) -> list[Statement]:
    """Say for each control against how many models it lies above or below."""
    controls: dict[str, list[Comparison]] = {}
    for item in items:
        control = item.a if control_side == "a" else item.b
        controls.setdefault(control.label, []).append(item)
    found = []
    for label, group in controls.items():
        metric = group[0].pair.metric
        won = [item for item in group if item.verdict == f"{control_side} better"]
        lost = [item for item in group if item.verdict not in (f"{control_side} better", "not distinguishable")]
        open_ = [item for item in group if item.verdict == "not distinguishable"]
        parts = []
        for some, words in ((won, "is better than"), (lost, "is worse than"), (open_, "can't be told from")):
            if some:
                names = listed([(item.b if control_side == "a" else item.a).label for item in some])
                detail = "" if some is open_ else f" ({p_text(max(item.p_holm for item in some))})"
                if some is open_:
                    detail = f" (smallest corrected {p_text(min(item.p_holm for item in some))})"
                parts.append(f"{words} {names}{detail}")
        title = task_title(task)
        how = f"by {header(metric)}, paired over rooms, corrected for {count(group[0].size, 'comparison')}"
        text = f"{title}: {label} {', '.join(parts)} {how}."
        topic: Topic = "finding" if won or lost else "limit"
        found.append(Statement(topic, text, tuple(pair_cell(item) for item in group), task))
    return found


def _between(family: str, items: Sequence[Comparison], task: str, cells: tuple[str, ...]) -> list[Statement]:
    metric, title = items[0].pair.metric, task_title(task)
    apart = sorted((i for i in items if i.verdict.endswith("better")), key=lambda i: -abs(i.pair.advantage))
    if not apart and len(items) == 1:
        text = (
            f"{title}: {items[0].a.label} and {items[0].b.label} can't be told apart by {header(metric)} "
            f"({p_text(items[0].p_holm)}, one comparison). That is no proof of equality."
        )
        return [Statement("limit", text, cells, task)]
    if not apart:
        text = (
            f"{title}, {_QUESTIONS[family]}: none of {count(len(items), 'comparison')} by {header(metric)} shows a "
            f"difference after correction (smallest {p_text(min(i.p_holm for i in items))}). That is no proof of "
            "equality."
        )
        return [Statement("limit", text, cells, task)]
    lines = []
    for item in apart:
        better, worse = (item.a, item.b) if item.verdict == "a better" else (item.b, item.a)
        size = shown(metric, abs(item.pair.advantage))
        lines.append(f"{better.label} over {worse.label} by {size} ({p_text(item.p_holm)})")
    text = (
        f"{title}, {_QUESTIONS[family]}: {len(apart)} of {count(len(items), 'comparison')} by {header(metric)} "
        f"{'differs' if len(apart) == 1 else 'differ'} after correction: {listed(lines)}."
    )
    return [Statement("finding", text, tuple(pair_cell(item) for item in apart), task)]


def shifted(board: Board) -> list[Statement]:
    """Say where resampling moves a pooled metric so far that intervals lie beside their values.

    With few clips a resample repeats some and lacks others, and mAP then tends to be higher than on the clips once.
    """
    found = []
    for task, entries in board.entries.items():
        moved, cells = [], []
        for entry in entries:
            score = entry.score(entry.main_metric) if entry.chosen else None
            if score is None or len(score.per_clip) or not len(score.samples) or score.interval.reason:
                continue
            move = float(np.nanmean(score.samples)) - score.interval.value
            if abs(move) > SHIFT * (score.interval.high - score.interval.low) > 0:
                moved.append(move)
                cells.append(score_cell(entry, entry.main_metric))
        if moved:
            metric = entries[0].main_metric
            mean = float(np.mean(moved))
            way = f"{shown(metric, abs(mean))} {'higher' if mean > 0 else 'lower'}"
            text = (
                f"{task_title(task)}: in {count(len(moved), 'row')} {header(metric)} is on average {way} "
                "on resampled clips than on the clips themselves, so these intervals are shifted; more clips would "
                "help. Differences of two rows are affected less, as both shift alike."
            )
            found.append(Statement("limit", text, tuple(cells), task))
    return found
