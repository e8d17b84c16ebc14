"""How sources are named and marked everywhere on the page: label, tags, row kinds, and their style in charts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from probe.report.contract import ReportData
from probe.report.page.document import Cell, Legend
from probe.report.page.svg import swatch
from probe.report.page.values import records

RANDOM = "random weights"
"""The tag of everything that rests on untrained weights."""

_NOTE = "Random weights: this is a control and says nothing about the pretrained model."


class Sources:
    """Looks up what the report says of a source; unknown names are shown as they are.

    Args:
        data: the report.
    """

    def __init__(self, data: ReportData) -> None:
        self._rows = {str(row["source"]): row for row in records(data.table("sources"))}
        self._order = {name: i for i, name in enumerate(self._rows)}

    def row(self, source: object) -> dict[str, Any]:
        """Return the row of table `sources`, empty if there is none."""
        return self._rows.get(str(source), {})

    def label(self, source: object) -> str:
        """Return the name for a reader."""
        return str(self.row(source).get("label") or source)

    def marked(self, source: object) -> str:
        """Return the name with its tags in parentheses, where no badge can stand."""
        row = self.row(source)
        known = row.get("untrained") and "untrained" not in self.label(source)
        return self.label(source) + (f" ({RANDOM})" if known else "")

    def tags(self, source: object) -> tuple[str, ...]:
        """Return the short labels that stand beside a name."""
        row = self.row(source)
        tags = [RANDOM] if row.get("untrained") else []
        tags += ["tiny twin"] if row.get("tiny") and "tiny" not in self.label(source) else []
        role = row.get("role")
        tags += [str(role)] if row.get("kind") == "control" and role and role != row.get("label") else []
        return tuple(tags)

    def kinds(self, source: object) -> tuple[str, ...]:
        """Return the kinds of a row about this source."""
        row = self.row(source)
        kinds = ["random"] if row.get("untrained") else []
        return (*kinds, *(["control"] if row.get("kind") == "control" else []))

    def style(self, source: object) -> int:
        """Return the number that chooses colour, dash and marker; the same everywhere."""
        return self._order.get(str(source), len(self._order))

    def cell(self, source: object, *, label: str | None = None, detail: Iterable[str] = ()) -> Cell:
        """Return the cell that names a source at the head of a row."""
        note = _NOTE if self.row(source).get("untrained") else ""
        name = label or self.label(source)
        return Cell(name, name, tuple(detail), note, tags=self.tags(source))

    def legend(self, sources: Iterable[object]) -> tuple[Legend, ...]:
        """Return legend entries in the order of table `sources`."""
        names = sorted({str(source) for source in sources}, key=self.style)
        return tuple(Legend(swatch(self.style(n), self.label(n)), self.label(n), self.tags(n)) for n in names)
