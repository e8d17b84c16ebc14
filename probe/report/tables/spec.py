"""One table of a report: heading, what it says, and the meaning of its columns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TableSpec:
    """A table.

    Attributes:
        title: heading.
        about: what it says, in a sentence or two that a page shows above it.
        columns: column -> meaning.
    """

    title: str
    about: str
    columns: dict[str, str]


WHERE = {
    "setting": "id of the comparable setting, see table settings",
    "task": "name of the task",
    "source": "name of the feature source",
    "label": "name of the source for a reader",
}
"""Columns that most tables begin with."""
