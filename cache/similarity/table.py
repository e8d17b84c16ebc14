"""Similarities as rows, as a printed table, and as a JSON or Parquet file."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.similarity.measures import MEASURES
from cache.similarity.samples import Layer
from cache.similarity.stream import FEW_ROOMS, Similarity
from configs.console import print_table
from configs.errors import ConfigError
from configs.files import write_atomic

MOST_PAIRS = 60
"""Pairs that are listed with their bands; more are printed as one matrix per measure."""
ENDINGS = (".json", ".parquet")


def rows_of(found: Similarity) -> list[dict[str, Any]]:
    """Return one row per pair and measure.

    Keys: `a`, `b` (source), `a_array`, `b_array`, `a_block`, `b_block` (None where there are none), `a_store` and
    `b_store` (SHA-256 of the fingerprint), `measure`, `value`, `low` and `high` (the band of random pairings), and
    `p_value`; numbers that are not defined are None.
    """
    return [
        {
            **_side("a", left),
            **_side("b", right),
            "measure": name,
            **{key: _number(getattr(found, key)[m, i, j]) for key in ("value", "low", "high", "p_value")},
        }
        for i, left in enumerate(found.left)
        for j, right in enumerate(found.right)
        for m, name in enumerate(found.settings.measures)
    ]


def facts_of(found: Similarity) -> dict[str, Any]:
    """Return what the numbers were computed from and how: dataset, counts and settings, JSON types."""
    settings = found.settings
    return {
        "dataset": found.left[0].source.dataset,
        "clips": found.clips,
        "rooms": found.rooms,
        "samples": found.samples,
        "batches": found.batches,
        "pool": settings.sampling.pool,
        "cells": settings.sampling.cells if settings.sampling.pool == "cell" else None,
        "batch": settings.batch,
        "permutations": settings.permutations,
        "seed": settings.seed,
    }


def check_out(out: str | None) -> None:
    """Refuse a file of another kind before the work begins.

    Raises:
        ConfigError: the name ends neither in `.json` nor in `.parquet`.
    """
    if out is not None and Path(out).suffix not in ENDINGS:
        raise ConfigError("unknown kind of file", expected=f"out=<name>{' or <name>'.join(ENDINGS)}", found=out)


def write(found: Similarity, out: str) -> Path:
    """Write all rows with the facts to a file, whole or not at all.

    Args:
        found: what to write.
        out: `*.json`: an object with the facts and the list `pairs`; `*.parquet`: a row per pair and measure, the facts
            as JSON under `spatialprobe` in the metadata of the schema.

    Raises:
        ConfigError: see `check_out`; StorageError, OSError: the file can't be written.
    """
    check_out(out)
    path, rows, facts = Path(out).expanduser(), rows_of(found), facts_of(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    data = _parquet(rows, facts) if path.suffix == ".parquet" else _json({**facts, "pairs": rows})
    write_atomic(path, data)
    return path


def show(found: Similarity) -> None:
    """Print a row per pair, or for many pairs a matrix per measure."""
    facts = facts_of(found)
    title = (
        f"similarity on {facts['dataset']}: {found.clips} clips of {found.rooms} rooms, "
        f"{found.samples} samples ({facts['pool']}) in {found.batches} batches"
    )
    if len(found.left) * len(found.right) <= MOST_PAIRS:
        _show_pairs(found, title)
    else:
        _show_matrices(found, title)
    for note in notes(found):
        print(note)


def notes(found: Similarity) -> list[str]:
    """Return what a reader of the numbers has to know."""
    several = found.settings.permutations > 0
    if several and found.rooms < 2:
        return ["all clips are of one room: there is no band, since rooms can't be paired at random"]
    lines = ["band: 95 % of random pairings, which move whole rooms"] if several else []
    if several and found.fewest_rooms < FEW_ROOMS:
        lines.append(
            f"a batch holds {found.fewest_rooms} rooms only: so few can be paired in few ways, and the band is coarse"
        )
    return lines


def _show_pairs(found: Similarity, title: str) -> None:
    columns, rows = ["a", "b"], []
    for name in found.settings.measures:
        columns += [MEASURES[name].title, "band"]
    for i, left in enumerate(found.left):
        for j, right in enumerate(found.right):
            cells: list[object] = [_label(left), _label(right)]
            for m in range(len(found.settings.measures)):
                cells += [_rounded(found.value[m, i, j]), _band(found.low[m, i, j], found.high[m, i, j])]
            rows.append(cells)
    print_table(title, columns, rows)


def _show_matrices(found: Similarity, title: str) -> None:
    print(title)
    print_table("\ncolumns", ["", "b"], [[j, _label(right)] for j, right in enumerate(found.right)])
    for m, name in enumerate(found.settings.measures):
        rows = [
            [_label(left), *(_rounded(found.value[m, i, j]) for j in range(len(found.right)))]
            for i, left in enumerate(found.left)
        ]
        print_table(f"\n{MEASURES[name].title}", ["a", *map(str, range(len(found.right)))], rows)
    print("\nout=<file> keeps the bands of all pairs as well")


def _label(layer: Layer) -> str:
    return f"{layer.source.source}:{layer.array}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 3) + 0.0  # no -0


def _band(low: float, high: float) -> str:
    return "-" if math.isnan(low) or math.isnan(high) else f"{low + 0.0:.3f} .. {high + 0.0:.3f}"


def _side(key: str, layer: Layer) -> dict[str, Any]:
    return {
        key: layer.source.source,
        f"{key}_array": layer.array,
        f"{key}_block": layer.spec.block,
        f"{key}_store": layer.source.fingerprint_digest,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def _parquet(rows: list[dict[str, Any]], facts: Mapping[str, Any]) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = [f"{side}{part}" for side in "ab" for part in ("", "_array", "_store")]
    kinds = {
        **dict.fromkeys([*text, "measure"], pa.string()),
        **dict.fromkeys(("a_block", "b_block"), pa.int32()),
        **dict.fromkeys(("value", "low", "high", "p_value"), pa.float64()),
    }
    schema = pa.schema([(key, kinds[key]) for key in rows[0]], {"spatialprobe": json.dumps(facts)})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(rows, schema), sink)
    return bytes(sink.getvalue())
