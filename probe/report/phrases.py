"""Numbers and lists inside sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from probe.report.columns import COLUMNS

_BY_METRIC = {column.metric: column for column in COLUMNS}
MOST = 6
"""Items of a list before the rest is counted."""


def header(metric: str) -> str:
    """Return a metric's name as printed in the main table."""
    return _BY_METRIC[metric].header if metric in _BY_METRIC else metric


def shown(metric: str, value: float) -> str:
    """Return a value in the main table's unit and digits; a dash for an undefined one."""
    if not math.isfinite(value):
        return "-"
    column = _BY_METRIC.get(metric)
    return f"{value * column.scale:.{column.decimals}f}" if column else f"{value:.4g}"


def span(metric: str, low: float, high: float) -> str:
    """Return an interval, empty if there is none."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    return f"95 % interval {shown(metric, low)} to {shown(metric, high)}"


def listed(items: Sequence[str], most: int = MOST) -> str:
    """Return `a, b and c`, the rest counted beyond `most`."""
    items = list(items)
    if len(items) > most:
        items = [*items[:most], f"{len(items) - most} more"]
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else "none"


def count(number: int, one: str, many: str | None = None) -> str:
    """Return `1 room`, `2 rooms`."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def p_text(p: float) -> str:
    """Return a p value for a sentence."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3g}"
