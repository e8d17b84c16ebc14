"""Numbers as a reader sees them: units of the published table, intervals, differences, and why one is missing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from probe.report.columns import COLUMNS
from probe.report.columns import Column as Metric
from probe.task import find_metric

if TYPE_CHECKING:
    import pandas as pd

NONE = "\N{EN DASH}"
"""Stands for a number that does not exist."""

_PRINTED = {column.metric: column for column in COLUMNS}


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table with None for every kind of null and plain Python numbers."""
    names = [str(name) for name in frame.columns]
    return [dict(zip(names, map(_plain, row), strict=True)) for row in frame.itertuples(index=False, name=None)]


def metric(key: str) -> Metric:
    """Return how a metric is printed; metrics outside the published table keep their stored unit."""
    if key in _PRINTED:
        return _PRINTED[key]
    info = find_metric(key)
    return Metric(key, info.title if info else key, "", 1.0, 3, info.better if info else "higher")


def in_order(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the metrics of some rows: those of the published table in its order, then the others as they come."""
    found = dict.fromkeys(str(row["metric"]) for row in rows)
    return [*(key for key in _PRINTED if key in found), *(key for key in found if key not in _PRINTED)]


def shown(value: float | None, key: str) -> str:
    """Return a value of a metric in its printed unit."""
    if value is None:
        return NONE
    form = metric(key)
    return f"{value * form.scale:.{form.decimals}f}"


def signed(value: float | None, key: str) -> str:
    """Return a difference of a metric with its sign, a true minus for negative ones."""
    if value is None:
        return NONE
    form = metric(key)
    return signed_text(f"{value * form.scale:+.{form.decimals}f}")


def signed_text(text: str) -> str:
    """Return a number's text with a true minus, and without a sign if it rounds to zero."""
    return text.lstrip("+-") if not text.strip("+-0.") else text.replace("-", "\N{MINUS SIGN}")


def interval(low: float | None, high: float | None, key: str, *, sign: bool = False) -> str:
    """Return a 95 % interval such as `[12.1, 18.9]`, empty if there is none."""
    if low is None or high is None:
        return ""
    form = signed if sign else shown
    return f"[{form(low, key)}, {form(high, key)}]"


def counts(clips: float | None, seeds: float | None) -> str:
    """Return how many clips and seeds a number rests on."""
    parts = [(clips, "clip"), (seeds, "seed")]
    return ", ".join(f"{int(n)} {word}{'' if n == 1 else 's'}" for n, word in parts if n is not None)


def title(key: str) -> str:
    """Return a metric's name with an arrow towards better values."""
    form = metric(key)
    return f"{form.header}\N{NO-BREAK SPACE}{'↑' if form.better == 'higher' else '↓'}"


def meaning(key: str) -> str:
    """Return what a metric's numbers are, for a resting pointer."""
    info, form = find_metric(key), metric(key)
    unit = f"{info.unit}{', times 100' if form.scale == 100 else ''}" if info else "stored unit"
    return f"{unit}; {form.better} is better"


def size(count: float | None) -> str:
    """Return a number of bytes with a unit."""
    if count is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def amount(count: float | None) -> str:
    """Return a large number such as parameters with a unit of thousands."""
    if count is None:
        return NONE
    for unit in ("", " k", " M"):
        if abs(count) < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g} G"


def plain_number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits."""
    return NONE if value is None else signed_text(f"{value:.{digits}g}")


def anchor(kind: str, name: object) -> str:
    """Return the id of a place in the page; different names give different ids."""
    text = re.sub(r"[^A-Za-z0-9-]", lambda found: f"_{ord(found.group()):x}", str(name))
    return f"{kind}-{text}"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (str, bool)):
        return value
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "item"):
        value = value.item()
    return None if value != value else value
