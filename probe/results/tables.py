"""Parquet tables of a run: metric values per clip, and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.files import write_atomic
from data.dataset.tables import parquet_bytes
from probe.metrics.scores import Scores, clip_value, number


def write_tables(folder: Path, scores: Mapping[str, Scores], groups: Mapping[str, str]) -> None:
    """Write `clips.parquet` and `predictions.parquet` into a run's folder.

    Args:
        folder: where.
        scores: split -> scores.
        groups: clip id -> room.
    """
    import pandas as pd

    columns = ["split", "clip_id", "group_id", "metric", "value", "reason"]
    rows = [row for split, found in scores.items() for row in clip_rows(split, found, groups)]
    write_atomic(folder / "clips.parquet", parquet_bytes(pd.DataFrame(rows, columns=columns)))
    predictions = [
        {"split": split, **{key: value for key, value in row.items() if not key.startswith("_")}}
        for split, found in scores.items()
        for row in found.predictions
    ]
    write_atomic(folder / "predictions.parquet", parquet_bytes(pd.DataFrame(predictions)))


def clip_rows(split: str, scores: Scores, groups: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row per clip and metric or count; an undefined metric is null with its reason."""
    rows = []
    for clip_id, score in zip(scores.clip_ids, scores.per_clip, strict=True):
        known = {"split": split, "clip_id": clip_id, "group_id": groups.get(clip_id, clip_id)}
        for key in dict.fromkeys([*score.values, *score.undefined]):
            value = number(clip_value(score, key))
            rows.append({**known, "metric": key, "value": value, "reason": score.undefined.get(key)})
        for key, count in score.counts.items():
            rows.append({**known, "metric": f"count.{key}", "value": float(count), "reason": None})
    return rows
