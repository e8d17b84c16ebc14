"""Records that somebody has made up under right digests: refused, or read as they are; nothing else comes of them."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from configs.files import sealed, sealed_json, sha256_bytes
from configs.identity import digest
from data.dataset.layout import COMPARED
from data.dataset.tables import parquet_bytes
from tests.faults.artifacts import DATASET
from tests.faults.readers import KINDS, files_of
from tests.faults.test_hostile import outcome, put_back

pytestmark = pytest.mark.usefixtures("impatient")

STRANGE: list[Any] = [
    [], {}, "x", "", None, 7, -1, 2**63, 10**400, 1e308, float("nan"), True, [[1]], {"a": {}}, ["x"], "2",
    "../../../../outside/x", "/etc/passwd", "a\0b", "\ud800", "x" * 100_000,
]  # fmt: skip
Record = dict[str, Any]


def _no_change(record: Record) -> None:
    pass


def _of_a_dataset(record: Record) -> None:
    if "parameters_sha256" in record:
        record["parameters_sha256"] = digest({key: record.get(key) for key in COMPARED})


def _of_a_fingerprint(record: Record) -> None:
    if "fingerprint_sha256" in record:
        record["fingerprint_sha256"] = digest(record.get("fingerprint"))


RECORDS: dict[str, Callable[[Record], None]] = {
    "dataset.json": _of_a_dataset,
    "manifest.json": _no_change,
    "clip.json": _no_change,
    "plan": _no_change,
    "report of the rooms": _no_change,
    "clip set aside": _no_change,
    "store.json": _of_a_fingerprint,
    "commit record": _no_change,
    "clip of a store set aside": _no_change,
    "view record": _of_a_fingerprint,
    "run.json": _no_change,
    "results": _no_change,
    "evaluation": _no_change,
}
"""Kinds of sealed JSON -> what makes the other digests inside a changed record right."""


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container below a value, with each of its keys."""
    keys = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from places(value[key])


def forged(record: Record, draw: np.random.Generator) -> tuple[Record, str]:
    """Return a record with one thing that no writer writes, and what it is."""
    changed = copy.deepcopy(record)
    found = list(places(changed))
    depth = draw.integers(4)  # long lists of numbers would take nearly all draws
    if depth:
        found = [(holder, key) for holder, key in found if isinstance(holder, dict)]
    holder, key = found[draw.integers(len(found))]
    how = draw.integers(10)
    if how == 0 and isinstance(holder, dict):
        holder[f"{key}x"] = holder.pop(key)
        return changed, f"{key!r} has another name"
    if how == 1:
        del holder[key]
        return changed, f"{key!r} is missing"
    holder[key] = STRANGE[draw.integers(len(STRANGE))]
    return changed, f"{key!r} is {holder[key]!r:.60}"


def written(kind: str, record: Record) -> bytes | None:
    """Return the bytes of a record under right digests; None: JSON has no such value."""
    try:
        RECORDS[kind](record)
        return sealed(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False).encode())
    except ValueError:
        return None


def record_of(path: Path) -> Record:
    record: Record = json.loads(path.read_bytes())
    del record["digest"]
    return record


def covering(root: Path, kind: str, path: Path) -> list[Path]:
    """Return the other files that hold the record or its digest, from the inside out."""
    dataset = root / "datasets" / DATASET
    spare = path.parent / "backup" / path.name
    inside = {
        "clip.json": [dataset / "index.parquet", dataset / "manifest.json"],
        "store.json": [spare],
        "run.json": [root / "results" / f"{path.parent.name}.json"],
    }
    return inside.get(kind, [])


def cover(kind: str, path: Path, content: bytes, others: list[Path]) -> None:
    """Make the digests of a record right in the files that have them."""
    if kind == "store.json":
        others[0].write_bytes(content)
    elif kind == "clip.json":
        index, manifest = others
        table = pd.read_parquet(index)
        table.loc[table["clip_id"] == path.parent.name, "clip_sha256"] = sha256_bytes(content)
        index.write_bytes(parquet_bytes(table))
        record = record_of(manifest)
        record["tables"][index.name] = sha256_bytes(index.read_bytes())
        manifest.write_bytes(sealed_json(record))
    elif kind == "run.json":
        result = record_of(others[0])
        result["files"][path.name] = sha256_bytes(content)
        others[0].write_bytes(sealed_json(result))


def came_of(root: Path, kind: str, path: Path, record: Record) -> str | None:
    """Return the outcome of reading a record; None: it can't be written."""
    content = written(kind, record)
    if content is None:
        return None
    others = covering(root, kind, path)
    with put_back(path, *others):
        path.write_bytes(content)
        cover(kind, path, content, others)
        return outcome(root, kind, path)


@pytest.mark.parametrize("kind", RECORDS)
def test_a_record_that_is_written_again_is_read(root: Path, kind: str) -> None:
    path = files_of(root, KINDS[kind][0])[0]
    record = record_of(path)
    before = outcome(root, kind, path)
    assert came_of(root, kind, path, record) == before == "read"


@pytest.mark.parametrize("count", [8, pytest.param(200, marks=pytest.mark.full)])
@pytest.mark.parametrize("kind", RECORDS)
def test_what_no_writer_writes_is_refused_or_read(
    root: Path, kind: str, count: int, record_property: Callable[[str, object], None]
) -> None:
    draw = np.random.default_rng([zlib.crc32(kind.encode()), count])
    files = files_of(root, KINDS[kind][0])
    seen: dict[str, int] = {}
    for _ in range(count):
        path = files[draw.integers(len(files))]
        changed, what = forged(record_of(path), draw)
        try:
            came = came_of(root, kind, path, changed)
        except BaseException as error:
            error.add_note(f"{path.relative_to(root)}: {what}")
            raise
        if came is not None:
            seen[came] = seen.get(came, 0) + 1
    for name, number in seen.items():
        record_property(name, number)
