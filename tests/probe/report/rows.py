"""Inputs of small studies, and rows of the tables that a report makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probe.report.contract import ReportData

VLM, VGM, ORACLE = "qwen3-vl-2b-tiny-random", "wan-t2v-1.3b-tiny-random", "oracle"
FLAT = [0.2, 0.3] * 3
HUB = {"adapter": {"family": "qwen3_vl", "weights": {"hub_id": "Qwen/Qwen3-VL-2B-Instruct", "revision": "abc"}}}
LABELS = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]])
RATES = np.array((0.9, 0.5, 0.1))


def logits(seed: int, clips: int = 6) -> np.ndarray:
    """Return (clips, 3) float64."""
    return np.random.default_rng(seed).normal(size=(clips, 3))


def values(seed: int, clips: int, shift: float = 0.0) -> np.ndarray:
    """Return (clips,) float64 in [0.2, 0.4), shifted."""
    return np.random.default_rng(seed).uniform(0.2, 0.4, clips) + shift


def seeds(study: Any, task: str, source: str, column: dict[str, np.ndarray], **options: Any) -> list[str]:
    """Add runs of three seeds, whose values differ a little."""
    return [
        study.per_clip(task, source, {name: own + 0.002 * (i - 1) for name, own in column.items()}, seed=i, **options)
        for i in range(3)
    ]


def score(data: Any, source: str, metric: str) -> pd.Series:
    """Return the only row of a source and a metric in the table of scores."""
    table = data.table("scores")
    rows = table[(table.source == source) & (table.metric == metric)]
    assert len(rows) == 1
    row: pd.Series = rows.iloc[0]
    return row


def main_rows(data: Any, origin: str) -> pd.DataFrame:
    """Return the rows of the main table that are of an origin, such as `published`."""
    table: pd.DataFrame = data.table("main")
    return table[table.origin == origin]


def pairs(data: ReportData, family: str) -> pd.DataFrame:
    """Return the tested pairs of a family."""
    table = data.table("pairs")
    return table[table.family == family]
