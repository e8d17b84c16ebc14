"""Entries: one source, one stored array, all seeds, inside a setting; and which layer of a source is chosen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from configs.errors import ConfigError
from configs.identity import digest
from probe.report.phrases import count
from probe.report.runs.collect import Run
from probe.report.runs.settings import Setting
from probe.report.runs.sources import TAP_ROLES, Source, model_facts
from probe.report.scores.scoring import ReportClips, Score, Scored, report_clips, score
from probe.task import Metric, known_metrics, load_task


@dataclass(frozen=True)
class Entry:
    """One row of table `entries`.

    Attributes:
        id: ten digits.
        setting: where it is comparable.
        source: whose features.
        runs: one per seed.
        scored: its scores.
        clips: of the setting; None if no run has tables.
        chosen: whether its array is the one picked for its source and role.
        candidates: number of arrays that the choice was made from.
        facts: of its array.
        members: what an average is made of; empty for an entry of its own.
    """

    id: str
    setting: Setting
    source: Source
    runs: tuple[Run, ...]
    scored: Scored
    clips: ReportClips | None
    chosen: bool = True
    candidates: int = 1
    facts: dict[str, Any] = field(default_factory=dict)
    members: tuple[Entry, ...] = ()

    @property
    def role(self) -> str:
        """Role of its source, or of what the model is fed."""
        return TAP_ROLES.get(str(self.facts["tap"]), self.source.role)

    @property
    def label(self) -> str:
        """Name for a reader."""
        return f"{self.source.label}: {self.role}" if self.facts["tap"] in TAP_ROLES else self.source.label

    @property
    def subject(self) -> bool:
        """Whether it is a model or a fusion of models, read after at least one block."""
        return self.source.subject and self.facts["tap"] not in TAP_ROLES

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.setting.task

    @property
    def main_metric(self) -> str:
        """The metric that picks layers and is tested."""
        return load_task(self.task).headline

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """What is known of its task's metrics, by key."""
        return known_metrics(self.task)

    @property
    def run_ids(self) -> str:
        """Run ids, joined by commas."""
        return ",".join(run.run_id for run in self.runs)

    @property
    def select_value(self) -> float:
        """Main metric on the select split, mean over seeds; NaN if undefined for one of them."""
        return self.on_select(self.main_metric)

    def on_select(self, metric: str) -> float:
        """Return a metric on the select split, mean over seeds; NaN if undefined for one of them."""
        values = [run.result["select"].get(metric, {}).get("value") for run in self.runs]
        return math.nan if None in values else float(sum(values) / len(values))

    def score(self, metric: str) -> Score | None:
        """Return the score of a metric, None if it was not computed."""
        return self.scored.scores.get(metric)


def entries_of(
    setting: Setting, sources: dict[tuple[str, str], Source], number: int, confidence: float, seed: int
) -> list[Entry]:
    """Return the entries of a setting, layers chosen.

    Args:
        setting: its runs on true targets are used.
        sources: (name, store) -> source.
        number, confidence, seed: of the resamples.
    """
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in setting.real:
        groups.setdefault((run.source, run.store, run.array), []).append(run)
    clips = report_clips(setting.real, number, confidence, seed)
    pooled = load_task(setting.task).pooled
    entries = []
    for (name, store, array), runs in groups.items():
        facts = {key: runs[0].result.get(key) for key in _FACTS}
        scored = score(runs, clips, pooled=pooled)
        identity = digest([setting.id, name, store, array])[:10]
        entries.append(Entry(identity, setting, sources[name, store], tuple(runs), scored, clips, facts=facts))
    return choose(entries)


_FACTS = ("array", "tap", "block", "blocks_total", "relative_depth", "noise_level", "grid", "channels", "parameters")


def choose(entries: Sequence[Entry]) -> list[Entry]:
    """Mark, for each source and role, the array that is best on the select split; the first of equals, NaN last.

    Clips of the select split also picked the checkpoints; the report split is not looked at.
    """
    groups: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry.source.name, entry.source.store, entry.role), []).append(entry)
    best = {min(group, key=_badness).id: len(group) for group in groups.values()}
    sizes = {entry.id: len(group) for group in groups.values() for entry in group}
    return [replace(entry, chosen=entry.id in best, candidates=sizes[entry.id]) for entry in entries]


def _badness(entry: Entry) -> float:
    value = entry.select_value
    if math.isnan(value):
        return math.inf
    return -value if entry.metrics[entry.main_metric].better == "higher" else value


def on_paper_layer(entry: Entry) -> bool:
    """Return whether an entry reads the block that the published table reads for its task."""
    block, total = entry.facts["block"], entry.facts["blocks_total"]
    wanted = model_facts(entry.source.base).get("paper_blocks", {}).get(entry.task) if entry.source.base else None
    return wanted is not None and block == wanted and total == model_facts(entry.source.base).get("blocks")


def task_problem(task: str) -> str:
    """Return why runs of a task can't be reported here, with what helps; empty if they can."""
    try:
        known_metrics(task)
    except ConfigError as error:
        return ": ".join(str(part) for part in (error.problem, error.where, error.fix) if part is not None)
    return ""


def counted(entries: Sequence[Entry], word: str) -> str:
    """Return how many models some entries are of, such as `3 models`, or `3 stores of 2 models` where that differs.

    Args:
        entries: one per source and store.
        word: what they are, in the singular.
    """
    models = count(len({entry.source.name for entry in entries}), word)
    return models if models.startswith(f"{len(entries)} ") else f"{len(entries)} stores of {models}"
