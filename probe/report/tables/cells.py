"""Where every number of a report lies in the Parquet tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probe.report.columns import COLUMNS
from probe.report.tables.frames import cell_id

if TYPE_CHECKING:
    import pandas as pd

_BASE = {
    "scores": "value",
    "classes": "value",
    "pairs": "difference",
    "controls": "difference",
    "selectivity": "value",
}
"""Tables whose `cell` column names numbers of their own, and the column of the number. Others repeat these."""


def cell_rows(tables: Mapping[str, pd.DataFrame]) -> list[dict[str, Any]]:
    """Return table `cells`: one row per number that isn't a copy of another table's.

    Args:
        tables: all other tables.
    """
    runs = _runs_of_entries(tables["entries"])
    rows: list[dict[str, Any]] = []
    for name, number in _BASE.items():
        for i, record in enumerate(tables[name].to_dict("records")):
            known = [runs[str(record[key])] for key in ("entry", "a", "b") if str(record.get(key)) in runs]
            told = record.get("runs") or ",".join(known)
            rows.append(_row(record["cell"], name, i, number, record[number], told))
    rows += _of_main(tables["main"], {row["cell"] for row in rows})
    for i, record in enumerate(tables["published"].to_dict("records")):
        for column in COLUMNS:
            cell = cell_id("published", record["source"], column.metric)
            rows.append(_row(cell, "published", i, column.metric, record[column.metric], "published"))
    return rows


def _of_main(main: pd.DataFrame, known: set[str]) -> list[dict[str, Any]]:
    """Averages and differences, which stand in the main table only; its other numbers are copies."""
    rows = []
    for i, record in enumerate(main.to_dict("records")):
        if record["origin"] == "published":
            continue
        for column in COLUMNS:
            cell, value = record[f"{column.metric}.cell"], record[column.metric]
            if isinstance(cell, str) and cell not in known:
                told = "published" if record["origin"] == "published average" else "see the lines above it"
                rows.append(_row(cell, "main", i, column.metric, value, told))
    return rows


def _row(cell: Any, table: str, row: int, column: str, value: Any, runs: str) -> dict[str, Any]:
    return {"cell": cell, "table": table, "row": row, "column": column, "value": value, "runs": runs}


def _runs_of_entries(entries: pd.DataFrame) -> dict[str, str]:
    return {str(entry): str(runs) for entry, runs in zip(entries["entry"], entries["runs"], strict=True)}
