"""What can and what cannot be concluded, in sentences made from the statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from configs import commands
from probe.metrics.statistics import MIN_ROOMS, MIN_ROOMS_POOLED
from probe.report.columns import COLUMNS, TASK_TITLES
from probe.report.contract import Statement
from probe.report.findings import findings
from probe.report.phrases import count, header, listed
from probe.report.published import citation, published_of
from probe.report.runs.settings import data_budget
from probe.report.runs.sources import model_facts
from probe.report.scores.boards import Board
from probe.report.scores.entries import Entry
from probe.report.scores.families import Comparison, subjects
from probe.report.tables.frames import score_cell
from probe.task import load_task, task_title


@dataclass(frozen=True)
class Told:
    """What the sentences are made from.

    Attributes:
        boards: the boards, the most complete first.
        comparisons: of the main settings.
        gaps: problems met on the way.
        kinds: dataset -> what it was prepared from.
        resamples: of the intervals.
        every: all entries.
    """

    boards: Sequence[Board]
    comparisons: Sequence[Comparison]
    gaps: Sequence[str]
    kinds: Mapping[str, str]
    resamples: int
    every: Sequence[Entry]


def statements(told: Told) -> tuple[Statement, ...]:
    """Return all sentences: warnings, findings, limits, gaps, methods."""
    if not told.boards:
        command = commands.portable(commands.probe("train", task=commands.ANY))
        text = f"There is no finished run to report on. `make demo` makes some; so does `{command}`."
        return (Statement("warning", text), *(Statement("gap", gap) for gap in told.gaps))
    found = [statement for board in told.boards for statement in _warnings(board, told)]
    for board in told.boards:
        for task in board.entries:
            name = board.settings[task].id
            own = [item for item in told.comparisons if item.a.setting.id == name]
            found += _placed(findings(board, task, own), board, told)
            found += _placed(_layer_choice(board.entries[task]), board, told)
    found += _limits(told)
    found += [Statement("gap", gap) for gap in told.gaps]
    found += _gaps(told.boards[0])
    found += _methods(told)
    order = ("warning", "finding", "exploratory", "limit", "gap", "method")
    unique = list(dict.fromkeys(found))
    return tuple(sorted(unique, key=lambda statement: order.index(statement.topic)))


def _placed(found: Sequence[Statement], board: Board, told: Told) -> list[Statement]:
    """Name the board where there are several."""
    if len(told.boards) == 1:
        return list(found)
    setting = next(iter(board.settings.values()))
    options = setting.key["options"]
    words = [str(setting.key["dataset"]), f"profile {options.get('profile')}"]
    words += [f"{key} {options[key]}" for key in ("variant", "split_scheme") if options.get(key) == "paper"]
    if budget := data_budget(options):
        words.append(f"{float(options['fraction']):.0%} of the clips for as many {budget}")
    return [Statement(s.topic, f"[{', '.join(words)}] {s.text}", s.cells, s.task) for s in found]


def _warnings(board: Board, told: Told) -> list[Statement]:
    found = []
    entries = [entry for group in board.entries.values() for entry in group if entry.chosen]
    about = {entry.label: entry for group in board.entries.values() for entry in subjects(group)}
    random = sorted(label for label, entry in about.items() if entry.source.untrained)
    if random:
        tiny = any(about[label].source.tiny for label in random)
        whole = "Every model" if len(random) == len(about) else f"{len(random)} of {count(len(about), 'model')}"
        has = "has" if len(random) in (1, len(about)) else "have"
        text = (
            f"{whole} in this comparison {has} random weights{' at the size of a small twin' if tiny else ''}: "
            f"{listed(random)}. Their rows show that the pipeline works and what a probe gets out of an untrained "
            "network. They say nothing about the pretrained models."
        )
        found.append(Statement("warning", text))
    dataset = next(iter(board.settings.values())).key["dataset"]
    if told.kinds.get(dataset) == "rooms":
        text = f"The clips of {dataset} are generated rooms. What holds here need not hold for real ones."
        found.append(Statement("warning", text))
    rooms = {task: len(set(group[0].clips.rooms)) for task, group in board.entries.items() if group[0].clips}
    needed = {task: MIN_ROOMS_POOLED if load_task(task).pooled else MIN_ROOMS for task in rooms}
    few = {task: number for task, number in rooms.items() if number < needed[task]}
    if few:
        places = listed([f"{count(number, 'room')} for {task}, of {needed[task]}" for task, number in few.items()])
        text = (
            f"The report split of {dataset} has {places} that intervals and tests need; with fewer, simulated "
            "intervals miss the truth too often, so none are given."
        )
        found.append(Statement("warning", text))
    if any(s.key["options"].get("split_scheme") == "paper" for s in board.settings.values()):
        text = (
            "Split scheme paper reports on the same clips that picked checkpoints and layers, as the published "
            "table does: values are too good. Intervals of the main table and tests hold for all candidate layers at "
            "once, which makes them wide; the choice of checkpoints stays unaccounted for."
        )
        found.append(Statement("warning", text))
    found += _same_features(entries)
    return found


def _same_features(entries: Sequence[Entry]) -> list[Statement]:
    groups: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        groups.setdefault((entry.source.store, str(entry.facts["array"])), set()).add(entry.label)
    return [
        Statement(
            "warning", f"{listed(sorted(labels))} have one fingerprint: they are the same features under two names."
        )
        for labels in groups.values()
        if len(labels) > 1
    ]


def _layer_choice(entries: Sequence[Entry]) -> list[Statement]:
    found = []
    for entry in entries:
        if entry.chosen and entry.candidates > 1 and (entry.subject or entry.role == "untrained twin"):
            depth = entry.facts["relative_depth"]
            at = f", at {depth:.2f} of the depth" if depth is not None else ""
            text = (
                f"{task_title(entry.task)}: of {entry.candidates} arrays of {entry.label}, "
                f"{entry.facts['array']}{at} is best on the select split by {header(entry.main_metric)}; its report "
                "values are shown."
            )
            found.append(Statement("finding", text, (score_cell(entry, entry.main_metric),), entry.task))
    return found


def _limits(told: Told) -> list[Statement]:
    entries = [entry for board in told.boards for group in board.entries.values() for entry in group if entry.chosen]
    real = {entry.source.kind for entry in entries if entry.subject and not entry.source.untrained}
    found = []
    if not {"vgm", "vlm"} <= real:
        plan = commands.portable(commands.extract("plan"))
        text = (
            "Whether video generation models or vision-language models carry more semantics or more geometry can't "
            f"be answered from these runs: that needs pretrained models of both kinds (`{plan}` prints the cost)."
        )
        found.append(Statement("limit", text))
    if not any(entry.source.genuine for entry in entries):
        text = (
            f"Nothing here can be compared with the published figures ({citation()}): no row has the published "
            "weights. They are printed for orientation only."
        )
        found.append(Statement("limit", text))
    unsure = {e.label for e in entries if e.role == "model" and published_of(e.source.base) and not e.source.genuine}
    if unsure:
        text = (
            f"{listed(sorted(unsure))}: the store doesn't name the published weights, or is gone, so no difference "
            "from the published figures is given."
        )
        found.append(Statement("limit", text))
    single = [entry for entry in entries if len(entry.runs) == 1]
    if single:
        text = (
            f"{len(single)} of {count(len(entries), 'row')} use one seed of the probe. Their intervals show how much a "
            "score depends on the rooms, not on the seed, and they are not tested: train several with seeds=1,2,3."
        )
        found.append(Statement("limit", text))
    if any(entry.role == "oracle" or entry.source.all_oracles for entry in entries):
        text = (
            "Ground truth as features is a ceiling for this probe and this length of training, not a perfect score, "
            "and position only is a floor: what lies between them is what features can add."
        )
        found.append(Statement("limit", text))
    return found


def _gaps(board: Board) -> list[Statement]:
    found = []
    setting = next(iter(board.settings.values()))
    dataset, profile = setting.key["dataset"], setting.key["options"].get("profile")
    for task in TASK_TITLES:
        if task not in board.entries:
            train = commands.probe("train", task=task, model=commands.ANY, dataset=dataset, profile=profile)
            text = f"No runs of {TASK_TITLES[task]} on {dataset} with profile {profile}: {commands.portable(train)}"
            found.append(Statement("gap", text, (), task))
    for role in ("position", "pixels", "oracle"):
        lacking = [
            task
            for task, group in board.entries.items()
            if not any(e.role == role or (role == "oracle" and e.source.all_oracles) for e in group)
        ]
        if lacking:
            extract = commands.extract("run", model=role, dataset=dataset)
            train = commands.probe("train", task=lacking[0], model=role, dataset=dataset, profile=profile)
            text = f"No {role} row for {listed(lacking)}: {commands.portable(f'{extract}, then {train}')}"
            found.append(Statement("gap", text))
    trained = {line.any.source.base for line in board.lines if line.any.role == "model" and line.any.source.base}
    twins = {line.any.source.base for line in board.lines if line.any.role == "untrained twin"}
    for base in sorted(base for base in trained - twins if model_facts(base)):
        extract = commands.extract("run", model=base, dataset=dataset, weights="random")
        text = f"No untrained twin of {base}: {commands.portable(extract)}"
        found.append(Statement("gap", text))
    return found


def _methods(told: Told) -> list[Statement]:
    tasks = list(dict.fromkeys([*TASK_TITLES, *(task for board in told.boards for task in board.settings)]))
    columns = ", ".join(f"{c.header}{' (x100)' if c.scale != 1 else ''}" for c in COLUMNS)
    texts = [
        f"Columns: {columns}. Tables hold stored units; the page prints the published ones.",
        "A cell is an estimate for rooms like these, mean over seeds: the mean over rooms of room means, or, for mAP "
        "and its relatives, the value over infinitely many rooms, for which each clip is ranked among clips of other "
        "rooms. Results files also hold the metrics' own definitions on these clips.",
        f"Intervals are 95 % intervals: bootstrap-t of whole rooms ({told.resamples} draws), for mAP and its relatives "
        "the jackknife over rooms; the spread between seeds adds to them where there are several.",
        "Models are compared on the clips on which all their seeds have a value. A difference counts if sign flips of "
        "whole rooms and the bootstrap-t both reject (mAP and its relatives: the jackknife). Overlap of intervals is "
        "not used.",
        "What is concluded: vision-language against video generation models, models as random as rooms, corrected by "
        "Holm's method over tasks; and every model against its untrained twin, corrected by the largest statistic of "
        "all. Everything else is exploratory, corrected by Holm's method within each question and task. Always by the "
        f"task's main metric: {listed([f'{header(load_task(task).headline)} for {task}' for task in tasks])}.",
        "A source is shown at the array with the best main metric on the select split, mean over seeds. With split "
        "scheme standard the reported clips have no part in that choice, nor in picking checkpoints.",
        "Effect sizes are differences in standard deviations between rooms (for pooled metrics: of the jackknife's "
        "values of the rooms).",
        "Ids of cells lead through table cells to a Parquet row, from there to runs, their stores and commands.",
    ]
    return [Statement("method", text) for text in texts]
