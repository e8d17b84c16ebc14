"""From the artifact root to `ReportData`: collect, score, compare, tabulate, say."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from configs import commands
from configs.files import artifact_root
from configs.identity import digest
from probe.report.columns import BINS
from probe.report.contract import ReportData
from probe.report.published import citation, published_rows
from probe.report.runs.collect import Collected, Run, collect
from probe.report.runs.settings import main_settings, settings_of
from probe.report.runs.sources import Source, distinct, source_of
from probe.report.runs.stores import StoreFacts, dataset_kind, store_facts
from probe.report.scores.boards import boards_of
from probe.report.scores.entries import entries_of, task_problem
from probe.report.scores.families import comparisons
from probe.report.tables.cells import cell_rows
from probe.report.tables.comparison_tables import control_rows, pair_rows, selectivity_rows
from probe.report.tables.fact_tables import cost_rows, entry_rows, run_rows, setting_rows, source_rows
from probe.report.tables.frames import frame
from probe.report.tables.main_tables import main_rows, radar_rows, scatter_rows
from probe.report.tables.score_tables import bin_rows, class_rows, curve_rows, layer_rows, noise_rows, score_rows
from probe.report.words import Told, statements
from probe.results.repeat import train_command

SEED = 0
"""Of the resamples: the one that results files use, so that equal questions get equal intervals."""
CONFIDENCE = 0.95


def build(
    root: str | None = None,
    *,
    dataset: str | None = None,
    profile: str | None = None,
    resamples: int = 1000,
    command: str = "",
) -> ReportData:
    """Return everything that the report shows; with no run at all, empty tables and a sentence that says so.

    Args:
        root: artifact root.
        dataset: only runs on this dataset.
        profile: only runs of this profile.
        resamples: bootstrap resamples of intervals.
        command: what repeats the report, for its provenance.
    """
    collected = collect(root, dataset, profile)
    problems = {task: task_problem(task) for task in sorted({run.task for run in collected.runs})}
    runs = [run for run in collected.runs if not problems[run.task]]
    gaps = [*collected.gaps, *(f"Runs of task {task} are left out: {why}." for task, why in problems.items() if why)]
    gaps += [
        f"Run {run.run_id} ({run.task} on {run.source}) is stale and left out: {why}. "
        f"Train it again: {commands.portable(train_command(run.result, store=False))}"
        for run, why in collected.stale
    ]
    facts = _stores(root, runs)
    sources = {(source.name, source.store): source for source in distinct(_sources(facts))}
    settings = settings_of(runs)
    entries = {s.id: entries_of(s, sources, resamples, CONFIDENCE, SEED) for s in settings}
    every = [entry for setting in settings for entry in entries[setting.id]]
    boards = boards_of(settings, entries)
    mains = [setting.id for setting in main_settings(settings).values()]
    found = [item for board in boards for item in comparisons(list(board.entries.values()))]
    kinds = {name: dataset_kind(root, name) for name in {str(run.result["dataset"]) for run in runs}}
    rows = {
        "scores": score_rows(every),
        "main": main_rows(boards, kinds),
        "controls": [row for name in mains for row in control_rows(entries[name])],
        "pairs": pair_rows(found),
        "layers": layer_rows(every),
        "noise": noise_rows(every),
        "curves": curve_rows(every),
        "scatter": scatter_rows(boards),
        "radar": radar_rows(boards),
        "classes": class_rows(every),
        **{bins.table: bin_rows(every, task, bins) for task, bins in BINS},
        "selectivity": selectivity_rows(every),
        "settings": setting_rows(settings, entries),
        "sources": source_rows(list(sources.values())),
        "entries": entry_rows(every),
        "published": published_rows(),
        "costs": cost_rows(every, facts, root),
        "runs": run_rows(settings, every, sources, facts),
    }
    tables = {name: frame(name, content) for name, content in rows.items()}
    tables["cells"] = frame("cells", cell_rows(tables))
    gaps += [f"{e.label}, {e.task}: {e.scored.gap}." for e in every if e.scored.gap]
    words = statements(Told(boards, found, gaps, kinds, resamples, every))
    return ReportData(tables, words, _provenance(root, collected, runs, resamples, command), root)


def _stores(root: str | None, runs: Sequence[Run]) -> dict[tuple[str, str], StoreFacts]:
    found: dict[tuple[str, str], StoreFacts] = {}
    for run in runs:
        if (run.source, run.store) not in found:
            found[run.source, run.store] = store_facts(root, str(run.result["dataset"]), run.source, run.store)
    return found


def _sources(facts: Mapping[tuple[str, str], StoreFacts]) -> list[Source]:
    return [source_of(name, known) for (name, _), known in facts.items()]


def _provenance(
    root: str | None, collected: Collected, runs: Sequence[Run], resamples: int, command: str
) -> dict[str, Any]:
    from importlib.metadata import version

    versions = {name: version(name) for name in ("numpy", "scipy", "pandas")}
    return {
        "made_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "root": str(artifact_root(root)),
        "versions": {"python": platform.python_version(), **versions},
        "resamples": resamples,
        "confidence": CONFIDENCE,
        "seed": SEED,
        "runs": len(runs),
        "left_out": len(collected.gaps) + len(collected.stale),
        "digest": digest([run.run_id for run in runs])[:16],
        "citation": citation(),
    }
