"""How sources are named and marked everywhere on the page: label, tags, row kinds, and their style in charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from probe.report.contract import ReportData
from probe.report.page.document import Cell, Legend
from probe.report.page.svg import swatch
from probe.report.page.values import records

RANDOM = "random weights"
"""The tag of everything that rests on untrained weights."""

_NOTE = "Random weights: this is a control and says nothing about the pretrained model."

Who = Mapping[str, Any]
"""A row of any table with `label`, which differs for every store, and `source`, which may not."""


def _is_control(row: Mapping[str, Any]) -> bool:
    """Whether a row of table `sources` is no model, nor made of one."""
    return row.get("kind") == "control" or row.get("role") == "control fusion"


class Sources:
    """Looks up what the report says of a source; unknown ones are shown as they are.

    Args:
        data: the report.
    """

    def __init__(self, data: ReportData) -> None:
        rows = records(data.table("sources"))
        self._by_label = {str(row["label"]): row for row in rows}
        self._by_name = {str(row["source"]): row for row in reversed(rows)}
        self._by_store = {str(row["store"]): row for row in rows}
        self._entries = {row["entry"]: row for row in records(data.table("entries"))}
        models_first = sorted(self._by_label, key=lambda label: _is_control(self._by_label[label]))
        self._styles = {label: i for i, label in enumerate(models_first)}

    def row(self, who: Who) -> dict[str, Any]:
        """Return the row of table `sources`; averages have none, only whether their name says untrained."""
        found = self._by_label.get(str(who["label"])) or self._by_name.get(str(who["source"]))
        return found or {"untrained": "untrained" in str(who["label"])}

    def of_run(self, run: Who) -> Who:
        """Return who a row of table `runs` is about: the entry's label, or the store's for twins without an entry."""
        found = self._entries.get(run["entry"]) or self._by_store.get(str(run["store"])[:12])
        return found or {"label": run["source"], "source": run["source"]}

    def tags(self, who: Who) -> tuple[str, ...]:
        """Return the short labels that stand beside a name."""
        row = self.row(who)
        tags = [RANDOM] if row.get("untrained") else []
        tags += ["tiny twin"] if row.get("tiny") and "tiny" not in str(who["label"]) else []
        role = str(row.get("role") or "")
        tags += [role] if _is_control(row) and role and role.lower() != str(who["label"]).lower() else []
        return tuple(tags)

    def marked(self, who: Who) -> str:
        """Return the name with what it must not be shown without, where no badge can stand."""
        label = str(who["label"])
        return label + (f" ({RANDOM})" if self.row(who).get("untrained") and "untrained" not in label else "")

    def kinds(self, who: Who) -> tuple[str, ...]:
        """Return the kinds of a row about this source."""
        row = self.row(who)
        kinds = ["random"] if row.get("untrained") else []
        return (*kinds, *(["control"] if _is_control(row) else []))

    def style(self, who: Who) -> int:
        """Return the number that chooses colour, dash and marker; the same everywhere."""
        return self._styles.setdefault(str(who["label"]), len(self._styles))

    def cell(self, who: Who, detail: Iterable[str] = ()) -> Cell:
        """Return the cell that names a source at the head of a row."""
        note = _NOTE if self.row(who).get("untrained") else ""
        label = str(who["label"])
        return Cell(label, label, tuple(detail), note, tags=self.tags(who))

    def legend(self, whos: Iterable[Who]) -> tuple[Legend, ...]:
        """Return legend entries in the order of their styles."""
        found = {self.style(who): who for who in whos}
        return tuple(
            Legend(swatch(style, str(who["label"])), str(who["label"]), self.tags(who))
            for style, who in sorted(found.items())
        )
