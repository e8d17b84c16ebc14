"""From rows to the documented tables, and the ids of their numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from configs.identity import digest
from probe.metrics.statistics import Interval
from probe.report.columns import COLUMNS
from probe.report.contract import columns_of
from probe.report.scores.entries import Entry

if TYPE_CHECKING:
    import pandas as pd

_WHOLE = (
    "block", "blocks_total", "channels", "parameters", "candidates", "n_seeds", "n_clips", "n_rooms", "n_undefined",
    "n_models", "runs", "sources", "train_clips", "select_clips", "report_clips", "report_rooms", "positives",
    "comparisons", "bin", "clips", "bytes_per_clip", "store_bytes", "probe_parameters", "best_round", "row",
)  # fmt: skip
"""Columns of whole numbers, null allowed, where they hold numbers."""


_REAL = (
    "value", "low", "high", "seed_low", "seed_high", "select_value", "difference", "advantage", "effect",
    "rooms_better", "p", "p_corrected", "p_smallest", "a_value", "b_value", "control_value", "normalised", "floor",
    "ceiling", "on_clips", "chance_low", "chance_high",
    "relative_depth", "noise_level", "x", "chance", "train_rate", "extract_seconds", "probe_seconds",
    "model_parameters", *(column.metric for column in COLUMNS),
)  # fmt: skip
"""Columns of real numbers, null allowed."""


def frame(name: str, rows: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a table of the report with its documented columns; what a row lacks is null."""
    import pandas as pd

    table = pd.DataFrame(list(rows), columns=columns_of(name))
    for column in table.columns:
        last = column.rpartition(".")[2]
        if last in _REAL:
            table[column] = table[column].astype("float64")
        elif last in _WHOLE and not table[column].map(lambda value: isinstance(value, str)).any():
            table[column] = table[column].astype("Int64")
    return table


def cell_id(*parts: object) -> str:
    """Return the id of a number: ten digits that stay the same as long as what it means does."""
    return digest([str(part) for part in parts])[:10]


def score_cell(entry: Entry, metric: str) -> str:
    """Return the id of an entry's score."""
    return cell_id("score", entry.id, metric)


def where(entry: Entry) -> dict[str, Any]:
    """Return the columns that most tables begin with."""
    return {
        "setting": entry.setting.id,
        "task": entry.task,
        "source": entry.source.name,
        "label": entry.label,
        "entry": entry.id,
        "array": entry.facts["array"],
        "chosen": entry.chosen,
        "role": entry.role,
    }


def interval_columns(interval: Interval, seeds: int, on_clips: float, note: str = "") -> dict[str, Any]:
    """Return value, ends, counts and reason of an interval."""
    return {
        "value": defined(interval.value),
        "on_clips": defined(on_clips),
        "low": defined(interval.low),
        "high": defined(interval.high),
        "n_clips": interval.n_clips,
        "n_rooms": interval.n_groups,
        "n_seeds": seeds,
        "reason": "; ".join(filter(None, (interval.reason, note))),
    }


def defined(value: float | None) -> float | None:
    """Return a number for a table: None for NaN and infinity."""
    return float(value) if value is not None and math.isfinite(value) else None
