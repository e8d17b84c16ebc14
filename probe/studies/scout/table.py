"""What a scout prints and writes: the arrays by rank, and the commands that train probes on the best."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from configs.console import print_table
from configs.files import json_bytes, write_atomic
from probe.studies.scout.config import ScoutConfig
from probe.studies.scout.scout import PENALTIES, Scouted, Scouting, train_commands


def print_scouting(found: Scouting, config: ScoutConfig) -> int:
    """Print the table and the commands, write the table if asked; return the exit code."""
    keys, arrays = list(found.part.METRICS), found.arrays
    columns = ["", "source", "layer", "at %", "noise", *(m.title for m in found.part.METRICS.values()), "penalty"]
    rows = [
        [
            rank,
            one.layer.store.source,
            one.layer.array.name,
            None if one.layer.array.relative_depth is None else round(100 * one.layer.array.relative_depth),
            one.layer.array.noise_level,
            *(None if math.isnan(one.values[key]) else one.values[key] for key in keys),
            one.penalty,
        ]
        for rank, one in enumerate(arrays, 1)
    ]
    keep = [i for i, name in enumerate(columns) if name != "noise" or any(row[i] is not None for row in rows)]
    print_table(
        f"{found.task.name}, ridge regression, {arrays[0].clips} clips of select, {found.dataset}, plan {found.plan}",
        [columns[i] for i in keep],
        [[row[i] for i in keep] for row in rows],
        notes=["penalties and ranks are chosen on these clips; the report split has not been read", *_notes(arrays)],
    )
    if config.out is not None:
        write_atomic(Path(config.out), json_bytes(record(found)))
        print(config.out)
    lines = train_commands(found, config)
    if lines:
        print(f"to train probes on the best {min(config.best, len(arrays))}:", *lines, sep="\n  ")
    return 0


def _notes(arrays: list[Scouted]) -> list[str]:
    edge = sum(one.at_edge for one in arrays)
    return [f"{edge} of {len(arrays)} penalties are at the edge of those compared"] if edge else []


def record(found: Scouting) -> dict[str, Any]:
    """Return what the table shows as JSON types, with the values for all penalties; null where undefined."""
    return {
        "task": found.task.name,
        "dataset": found.dataset,
        "plan": found.plan,
        "split": "select",
        "penalties": list(PENALTIES),
        "metrics": {key: {"title": m.title, "better": m.better} for key, m in found.part.METRICS.items()},
        "arrays": [_row(rank, one) for rank, one in enumerate(found.arrays, 1)],
    }


def _row(rank: int, one: Scouted) -> dict[str, Any]:
    store, array = one.layer
    return {
        "rank": rank,
        "source": store.source,
        "store": store.fingerprint_digest,
        "array": array.name,
        "block": array.block,
        "noise_level": array.noise_level,
        "rows": one.rows,
        "clips": one.clips,
        "dual": one.dual,
        "penalty": one.penalty,
        "values": {key: _number(value) for key, value in one.values.items()},
        "curve": [_number(value) for value in one.curve],
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
