"""The small tables of a dataset: built from the finished clips, written whole, checked when read."""

from __future__ import annotations

import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs import commands
from configs.errors import CorruptionError, MissingError, malformed
from configs.files import read_regular, read_sealed, sealed_json, sha256_bytes, sha256_file, write_atomic
from data.dataset.clip_files import file_facts, mend_clip, read_clip_file, read_clip_record
from data.dataset.layout import TABLES, clip_folder, read_identity
from data.dataset.splits import assign_splits

if TYPE_CHECKING:
    import pandas as pd


def build_tables(dataset: Path, clip_ids: Sequence[str], splits: dict[str, Any]) -> None:
    """Write index, frames and instances of the given finished clips, then the manifest.

    Raises:
        DatasetError: official splits cut a group.
        CorruptionError: a clip's own record or table has changed since it was written.
    """
    import pandas as pd

    records = {clip_id: read_clip_record(dataset, clip_id) for clip_id in clip_ids}
    rows = [record["index"] for record in records.values()]
    assigned = assign_splits(
        {row["clip_id"]: row["group_id"] for row in rows},
        {row["clip_id"]: row["split"] for row in rows},
        select=splits["select"],
        report=splits["report"],
        salt=splits["salt"],
    )
    facts = sorted({key for record in records.values() for key in record["facts"]})
    index, instances = [], []
    for clip_id, record in records.items():
        path = clip_folder(dataset, clip_id) / "clip.json"
        digest = sha256_file(path)
        with malformed("not the record of a clip", path, mend_clip(dataset, clip_id)):
            extra = {key: record["facts"].get(key) for key in facts}
            note = "; ".join(record["warnings"])
            row = {**record["index"], **extra, "split": assigned[clip_id]}
            index.append({**row, "warnings": note, "clip_sha256": digest})
            instances += [{"clip_id": clip_id, **row} for row in record["instances"]]
    frames = []
    for clip_id, record in records.items():
        expected = file_facts(dataset, clip_id, record["files"], "frames.parquet")
        frames.append(pd.read_parquet(io.BytesIO(read_clip_file(dataset, clip_id, "frames.parquet", expected))))
    columns = ["clip_id", "instance", "class_index", "raw_label", "is_thing", "source_id", "n_frames", "pixels"]
    tables = {
        "index.parquet": pd.DataFrame(index),
        "frames.parquet": pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(),
        "instances.parquet": pd.DataFrame(instances, columns=columns),
    }
    manifest: dict[str, Any] = {"clips": len(records), "tables": {}}
    for name in TABLES:
        content = parquet_bytes(tables[name])
        manifest["tables"][name] = sha256_bytes(content)
        _write_if_changed(dataset / name, content)
    _write_if_changed(dataset / "manifest.json", sealed_json(manifest))


def parquet_bytes(table: pd.DataFrame) -> bytes:
    """Return a table as Parquet; the same table gives the same bytes."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    return buffer.getvalue()


def read_tables(dataset: Path, names: Sequence[str] = TABLES) -> dict[str, pd.DataFrame]:
    """Read tables (by default all three) and check them against the manifest.

    Raises:
        MissingError: the dataset is unfinished.
        CorruptionError: a table is not the one that was written.
    """
    try:
        return _read_tables(dataset, names)
    except CorruptionError:
        time.sleep(0.5)  # another process may just have been replacing them one by one
        return _read_tables(dataset, names)


def _read_tables(dataset: Path, names: Sequence[str]) -> dict[str, pd.DataFrame]:
    def how_to_finish() -> str:
        command = commands.data("prepare", kind=read_identity(dataset)["kind"], dataset=dataset.name)
        return f"{command}, with the other options it was started with, finishes it; finished clips are kept"

    path = dataset / "manifest.json"
    manifest = read_sealed(path, fix=how_to_finish)
    with malformed("not the manifest of a dataset", path, f"delete {path}; {how_to_finish()}"):
        digests = {name: str(manifest["tables"][name]) for name in names}
    return {name: read_parquet(dataset / name, digests[name]) for name in names}


def read_parquet(path: Path, sha256: str | None) -> pd.DataFrame:
    """Read a Parquet table whose digest is known.

    Raises:
        MissingError: no such file.
        CorruptionError: other bytes than those that were written.
    """
    import pandas as pd

    again = commands.data("prepare")
    rebuild = f"delete this file and manifest.json, then run the same `{again}` again: clips are kept"
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise MissingError("a table of the dataset is missing", where=path, fix=rebuild) from None
    if sha256_bytes(content) != sha256:
        raise CorruptionError("this table is not the one that was written", where=path, fix=rebuild)
    return pd.read_parquet(io.BytesIO(content))


def _write_if_changed(path: Path, content: bytes) -> None:
    """Leave equal files alone, so that a second run never disturbs readers."""
    if not path.is_file() or path.read_bytes() != content:
        write_atomic(path, content)
