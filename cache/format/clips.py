"""The clips of a store: an ordered table, kept as Parquet; the position in it is the index on the clip axis."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from configs.errors import CorruptionError, StaleError, StoreError
from configs.files import is_path_name, unusable_names
from configs.identity import canonical_json


@dataclasses.dataclass(frozen=True)
class ClipEntry:
    """One clip.

    Attributes:
        clip_id: unique name.
        group_id: room or scene; clips of one group never fall into different splits.
        input_sha256: digest of the clip that the features are computed from: its frames, ground truth and records.
        extra: more facts, JSON types only.
    """

    clip_id: str
    group_id: str = ""
    input_sha256: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def check_unique(entries: Sequence[ClipEntry]) -> None:
    """Refuse clips that share a name.

    Raises:
        StoreError: a name occurs twice, is empty, or can't be one part of a path.
    """
    seen: set[str] = set()
    for entry in entries:
        if not is_path_name(entry.clip_id) or entry.clip_id in seen:
            raise StoreError("clip ids must be unique, and letters, digits, _ - and . only", found=repr(entry.clip_id))
        seen.add(entry.clip_id)


def merged(old: Sequence[ClipEntry], new: Iterable[ClipEntry], where: str) -> list[ClipEntry]:
    """Return `old` followed by those of `new` that it does not hold.

    Raises:
        StaleError: a clip is known with different input frames.
    """
    known = {entry.clip_id: entry for entry in old}
    result = list(old)
    for entry in new:
        before = known.get(entry.clip_id)
        if before is None:
            result.append(entry)
        elif before.input_sha256 != entry.input_sha256:
            raise StaleError(
                f"clip {entry.clip_id} has different input frames than when its features were made",
                expected=before.input_sha256 or "(none)",
                found=entry.input_sha256 or "(none)",
                where=where,
                fix="prepare the changed data under another name (dataset=...): its features then get their own store",
            )
    return result


def to_parquet(entries: Sequence[ClipEntry]) -> bytes:
    """Return the table as the bytes of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "clip": pa.array(range(len(entries)), pa.int32()),
            "clip_id": pa.array([entry.clip_id for entry in entries], pa.string()),
            "group_id": pa.array([entry.group_id for entry in entries], pa.string()),
            "input_sha256": pa.array([entry.input_sha256 for entry in entries], pa.string()),
            "extra": pa.array([canonical_json(entry.extra) for entry in entries], pa.string()),
        }
    )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue())


def from_parquet(data: bytes, where: str) -> list[ClipEntry]:
    """Return the clips of a Parquet file.

    Raises:
        CorruptionError: it is not such a table.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        columns = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False).to_pydict()
        if columns["clip"] != list(range(len(columns["clip"]))):
            raise ValueError("the clip column must count from 0")
        names, groups, digests = columns["clip_id"], columns["group_id"], columns["input_sha256"]
        if strange := unusable_names(names):
            raise ValueError(f"not a usable clip id: {strange[0]!r}")
        extras = [{} if text == "{}" else json.loads(text) for text in columns["extra"]]
        return [ClipEntry(*row) for row in zip(names, groups, digests, extras, strict=True)]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorruptionError(f"not a readable table of clips: {error}", where=where) from error
