"""What the numbers of a report look like: named tables, words and provenance, handed from the collector to the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from configs.errors import CorruptionError
from probe.report.columns import COLUMNS
from probe.report.tables.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd


def columns_of(table: str) -> list[str]:
    """Return the columns of a table, `<metric>` replaced by the metrics of `COLUMNS`."""
    columns: list[str] = []
    for name in TABLES[table].columns:
        columns += [name.replace("<metric>", c.metric) for c in COLUMNS] if "<metric>" in name else [name]
    return columns


Topic = Literal["warning", "finding", "exploratory", "limit", "gap", "method"]


@dataclass(frozen=True)
class Statement:
    """A sentence of the report, made from its numbers.

    Attributes:
        topic: `warning` (read this first), `finding` (what can be concluded), `exploratory` (what was looked at besides
            the questions that the study concludes from), `limit` (what can't be concluded), `gap` (what is missing,
            and the command that adds it), `method` (how numbers were made).
        text: plain text.
        cells: ids of the cells it rests on; see table `cells`.
        task: where it belongs to one task, else empty.
    """

    topic: Topic
    text: str
    cells: tuple[str, ...] = ()
    task: str = ""


@dataclass(frozen=True)
class ReportData:
    """Everything that a page shows.

    Attributes:
        tables: every table of `probe.report.tables.schema.TABLES`, possibly without rows, with at least the columns
            documented there.
        words: the sentences, most important first within their topic.
        provenance: `made_at`, `command`, `root`, `versions`, `resamples`, `confidence`, `seed`, `runs`, `digest`
            (of the runs' ids), `citation`.
        root: the artifact root, None for the default; pictures are read from `runs/<run id>/` below it.
    """

    tables: Mapping[str, pd.DataFrame]
    words: tuple[Statement, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    root: str | None = None

    def __post_init__(self) -> None:
        """Check that tables and columns are all there.

        Raises:
            CorruptionError: one is missing.
        """
        for name in TABLES:
            if name not in self.tables:
                raise CorruptionError("a table of the report is missing", expected=name, found=", ".join(self.tables))
            lacking = [column for column in columns_of(name) if column not in self.tables[name].columns]
            if lacking:
                raise CorruptionError(f"table {name} of the report lacks columns", found=", ".join(lacking))

    def table(self, name: str) -> pd.DataFrame:
        """Return a table by name; KeyError for an unknown one."""
        return self.tables[name]

    def said(self, topic: Topic, task: str | None = None) -> list[Statement]:
        """Return the statements of a topic, of one task (`""`: of none in particular) or of all."""
        return [s for s in self.words if s.topic == topic and (task is None or s.task == task)]
