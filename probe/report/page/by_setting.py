"""Rows of a table grouped by the setting that they belong to, the main ones first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from probe.report.contract import ReportData
from probe.report.page.values import records
from probe.task import task_title

if TYPE_CHECKING:
    import pandas as pd


class Settings:
    """Names settings and groups rows by them.

    Args:
        data: the report.
    """

    def __init__(self, data: ReportData) -> None:
        rows = records(data.table("settings"))
        self._rows = {row["setting"]: row for row in sorted(rows, key=lambda row: not row["main"])}

    def row(self, setting: Any) -> dict[str, Any]:
        """Return the row of table `settings`, empty if there is none."""
        return self._rows.get(setting, {})

    def title(self, setting: Any) -> str:
        """Return a heading such as `Semantic tagging: rooms, smoke`."""
        row = self.row(setting)
        if not row:
            return str(setting)
        task = task_title(str(row["task"]))
        parts = [str(row["dataset"]), f"profile {row['profile']}"]
        if not row["main"] and row["differs"]:
            parts.append(str(row["differs"]))
        return f"{task}: {', '.join(parts)}"

    def split(self, table: pd.DataFrame) -> list[tuple[Any, list[dict[str, Any]]]]:
        """Return (setting, rows), main settings first; rows keep their order."""
        found: dict[Any, list[dict[str, Any]]] = {}
        for row in records(table):
            found.setdefault(row["setting"], []).append(row)
        order = {setting: i for i, setting in enumerate(self._rows)}
        return sorted(found.items(), key=lambda item: order.get(item[0], len(order)))
