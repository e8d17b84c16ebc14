"""Boards: the main settings of the tasks side by side, one line per source and role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from probe.metrics.statistics import Floats, Interval
from probe.report.published import published_rows
from probe.report.runs.settings import Setting, main_settings
from probe.report.runs.sources import TAP_ROLES
from probe.report.scores.entries import Entry
from probe.report.scores.scoring import Score

SECTIONS = {
    "vgm": "Video generation models",
    "vlm": "Vision-language models",
    "encoder": "Encoders",
    "unknown": "Other models",
    "fusion": "Fusions",
    "control": "Controls",
}
_ROLES = (
    "position", "pixels", "VAE latent", "vision tower", "partial oracle", "control fusion", "oracle",
)  # fmt: skip


@dataclass
class Line:
    """A line of the main table.

    Attributes:
        entries: task -> the chosen entry of one source and role.
    """

    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def any(self) -> Entry:
        """One of its entries."""
        return next(iter(self.entries.values()))

    @property
    def section(self) -> str:
        """Where it stands."""
        entry = self.any
        if entry.facts["tap"] in TAP_ROLES or entry.role == "control fusion":
            return SECTIONS["control"]
        return SECTIONS.get(entry.source.kind, SECTIONS["unknown"])


@dataclass
class Board:
    """A main table.

    Attributes:
        id: ten digits.
        settings: task -> main setting.
        entries: task -> all entries of that setting.
        lines: in printed order.
    """

    id: str
    settings: dict[str, Setting]
    entries: dict[str, list[Entry]]
    lines: list[Line]

    def chosen(self, task: str, role: str) -> Entry | None:
        """Return the chosen entry of a role, None without or with several different ones."""
        found = [e for e in self.entries.get(task, []) if e.chosen and e.role == role]
        return found[0] if len(found) == 1 else None

    def fused_oracles(self, task: str) -> Entry | None:
        """Return the chosen fusion of partial oracles, None without or with several."""
        found = [e for e in self.entries.get(task, []) if e.chosen and e.source.all_oracles]
        return found[0] if len(found) == 1 else None


def boards_of(settings: Sequence[Setting], entries: dict[str, list[Entry]]) -> list[Board]:
    """Return the boards, in the order of their settings.

    Args:
        settings: all settings, as `settings_of` orders them.
        entries: id of a setting -> its entries.
    """
    boards: dict[str, Board] = {}
    for (name, task), setting in main_settings(settings).items():
        board = boards.setdefault(name, Board(name, {}, {}, []))
        board.settings[task] = setting
        board.entries[task] = entries[setting.id]
    for board in boards.values():
        lines: dict[tuple[str, str, str], Line] = {}
        for task, found in board.entries.items():
            for entry in found:
                if entry.chosen:
                    key = (entry.source.name, entry.source.store, entry.role)
                    lines.setdefault(key, Line()).entries[task] = entry
        board.lines = sorted(lines.values(), key=_order)
    return list(boards.values())


def _order(line: Line) -> tuple[int, int, str, bool, str]:
    entry = line.any
    section = list(SECTIONS.values()).index(line.section)
    if line.section == SECTIONS["control"]:
        return (section, _ROLES.index(entry.role) if entry.role in _ROLES else 99, entry.label, False, "")
    known = [row["source"] for row in published_rows()]
    place = known.index(entry.source.base) if entry.source.base in known else len(known)
    return (section, place, entry.source.base, entry.source.untrained, entry.label)


def main_interval(entry: Entry, metric: str, group: Sequence[Entry]) -> Interval:
    """Return the interval that the main table shows.

    Where layers are chosen on the reported clips themselves (split scheme `paper`), the choice is repeated in every
    resample; else the choice is not part of what is resampled.

    Args:
        entry: the chosen entry.
        metric: a column of the table.
        group: all entries of its setting.
    """
    score = entry.scored.scores[metric]
    rivals = [
        other
        for other in group
        if (other.source.name, other.source.store, other.role)
        == (entry.source.name, entry.source.store, entry.role)
    ]  # fmt: skip
    nested = entry.setting.key["options"].get("split_scheme") == "paper" and len(rivals) > 1
    if not nested or entry.clips is None:
        return score.interval
    judged = [other.score(entry.main_metric) for other in rivals]
    shown = [other.score(metric) for other in rivals]
    if any(s is None or not len(s.samples) for s in (*judged, *shown)):
        return score.interval
    samples = _best_of(judged, shown, entry.metrics[entry.main_metric].better == "higher")
    return entry.clips.resamples.interval(score.interval.value, samples, score.interval.n_clips)


def _best_of(judged: Sequence[Score | None], shown: Sequence[Score | None], higher: bool) -> Floats:
    by = np.stack([score.samples for score in judged if score is not None])
    values = np.stack([score.samples for score in shown if score is not None])
    by = np.where(np.isnan(by), -np.inf, by if higher else -by)
    best: Floats = np.take_along_axis(values, by.argmax(axis=0)[None], axis=0)[0]
    return best
