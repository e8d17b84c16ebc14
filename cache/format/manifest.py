"""`manifest.parquet`: all commit records in one table, so that stores with many clips open at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cache.format import layout
from cache.format.header import Header, load_covered
from cache.format.records import CommitIndex, CommitRecord, ShardRecord
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError
from configs.files import sha256_bytes

COLUMNS = (
    "clip",
    "clip_id",
    "generation",
    "array",
    "bytes",
    "crc32c",
    "absmax",
    "chunks",
    "statistics_bytes",
    "statistics_sha256",
    "record_sha256",
    "committed_at",
)
"""Columns of the manifest."""


def to_parquet(found: list[CommitRecord]) -> bytes:
    """Return the table: one row per committed shard, in order of clip, generation and array."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(record, name, shard) for record in found for name, shard in sorted(record.arrays.items())]
    shas = {id(record): sha256_bytes(record.to_bytes()) for record in found}
    columns: dict[str, Any] = {
        "clip": pa.array([record.clip for record, _, _ in rows], pa.int32()),
        "clip_id": pa.array([record.clip_id for record, _, _ in rows], pa.string()),
        "generation": pa.array([record.generation for record, _, _ in rows], pa.int32()),
        "array": pa.array([name for _, name, _ in rows], pa.string()).dictionary_encode(),
        "bytes": pa.array([shard.bytes for _, _, shard in rows], pa.int64()),
        "crc32c": pa.array([shard.crc32c for _, _, shard in rows], pa.list_(pa.uint32())),
        "absmax": pa.array([shard.absmax for _, _, shard in rows], pa.float64()),
        "chunks": pa.array(
            [None if shard.chunks is None else [list(chunk) for chunk in shard.chunks] for _, _, shard in rows],
            pa.list_(pa.list_(pa.int64())),
        ),
        "statistics_bytes": pa.array([record.statistics_bytes for record, _, _ in rows], pa.int64()),
        "statistics_sha256": pa.array([record.statistics_sha256 for record, _, _ in rows], pa.string()),
        "record_sha256": pa.array([shas[id(record)] for record, _, _ in rows], pa.string()),
        "committed_at": pa.array([str(record.run.get("committed_at", "")) for record, _, _ in rows], pa.string()),
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    return bytes(sink.getvalue())


def preload(backend: Backend, header: Header, index: CommitIndex) -> None:
    """Fill an index from the manifest, if there is one.

    Raises:
        CorruptionError: the manifest is not the one that was written.
    """
    if backend.size(layout.MANIFEST) is None:
        return
    try:
        _, data = load_covered(backend, header, layout.MANIFEST)
    except CorruptionError:
        if backend.size(layout.MANIFEST) is None:  # dropped a moment ago, because a commit record changes
            return
        raise
    index.preload(_Sealed(_table(data, f"{backend.where}/{layout.MANIFEST}")))


def record_digests(data: bytes, where: str) -> dict[str, str]:
    """Return the SHA-256 of each commit record by file name, as the manifest has them."""
    table = _table(data, where)
    rows = zip(*(table[name].to_pylist() for name in ("clip", "generation", "record_sha256")), strict=True)
    return {layout.commit_name(clip, generation): sha for clip, generation, sha in rows}


class _Sealed:
    """The rows of a manifest; see `cache.format.records.SealedRecords`."""

    def __init__(self, table: Any) -> None:
        self._table = table

    def keys(self) -> Iterable[tuple[int, int, str]]:
        columns = (self._table[name].to_numpy().tolist() for name in ("clip", "generation", "array"))
        return zip(*columns, strict=True)

    def shard(self, row: int) -> ShardRecord:
        size, crcs, absmax, chunks = self._values(row, "bytes", "crc32c", "absmax", "chunks")
        packed = None if chunks is None else tuple((offset, count, crc) for offset, count, crc in chunks)
        return ShardRecord(size, tuple(crcs), absmax, packed)

    def statistics(self, row: int) -> tuple[int, str]:
        size, sha = self._values(row, "statistics_bytes", "statistics_sha256")
        return size, sha

    def _values(self, row: int, *names: str) -> list[Any]:
        return [self._table[name][row].as_py() for name in names]


def _table(data: bytes, where: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(pa.BufferReader(data)).read(use_threads=False).combine_chunks()
        missing = set(COLUMNS) - set(table.column_names)
        if missing:
            raise ValueError(f"no column {', '.join(sorted(missing))}")
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorruptionError(
            f"not a readable manifest: {error}",
            where=where,
            fix=f"{commands.cache('seal', store=commands.ANY)} rebuilds it",
        ) from error
