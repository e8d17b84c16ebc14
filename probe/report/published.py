"""The published table, from configs/published, in stored units."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from configs.loader import load_named
from probe.report.columns import COLUMNS

NAME = "table1"


@lru_cache
def _table() -> dict[str, Any]:
    return load_named("published", NAME)


@lru_cache
def published_rows() -> tuple[dict[str, Any], ...]:
    """Return table `published`: source, name, kind and the metrics in stored units, in printed order."""
    return tuple(
        {
            **{key: row[key] for key in ("source", "name", "kind")},
            **{c.metric: round(float(row[c.metric]) / c.scale, 6) for c in COLUMNS},
        }
        for row in _table()["rows"]
    )


def published_of(base: str) -> dict[str, Any] | None:
    """Return the published row of a model, None if it isn't in the table."""
    return next((row for row in published_rows() if row["source"] == base), None)


def citation() -> str:
    """Return where the figures are from."""
    return str(_table()["citation"])
