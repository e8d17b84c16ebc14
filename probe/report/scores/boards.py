"""Boards: the main settings of the tasks side by side, one line per source and role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from probe.report.published import published_rows
from probe.report.runs.settings import Setting, main_settings
from probe.report.runs.sources import TAP_ROLES
from probe.report.scores.entries import Entry

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
