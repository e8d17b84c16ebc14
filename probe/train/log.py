"""The log of a run: one row per round as JSON lines and CSV, rewritten whole, so that a resumed run has no doubles."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.files import write_atomic
from probe.metrics.scores import number

Row = dict[str, Any]


class RunLog:
    """Rows of a run; numbers that are not finite become empty.

    Args:
        folder: the run's folder; `log.jsonl` and `log.csv` appear there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []

    def restore(self, rows: Sequence[Row]) -> None:
        """Start from the rows of a checkpoint."""
        self.rows = [dict(row) for row in rows]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and write both files."""
        self.rows.append({k: number(v) if isinstance(v, float) else v for k, v in row.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomic(self.folder / "log.jsonl", lines.encode())
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.folder / "log.csv", text.getvalue().encode())
