"""`manifest.parquet`: all commit records in one table, so that stores with many clips open at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cache.create import exclusive, save_header
from cache.format import layout
from cache.format.commits import CommitIndex, CommitRecord, ShardRecord, load_commit
from cache.format.header import Header, load_covered, load_header, sha256
from cache.lease import LeaseBoard
from cache.storage.backend import Backend, put
from configs.errors import CorruptionError

if TYPE_CHECKING:
    from cache.store import FeatureStore

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


def seal(backend: Backend, board: LeaseBoard) -> int:
    """Compact the commit records of a store; return how many there are. The records themselves stay.

    Raises:
        CorruptionError: a record can't be trusted; nothing is written then.
    """
    with exclusive(backend, board):
        header = load_header(backend)
        parsed = [pair for name in backend.names(layout.COMMITS) if (pair := layout.parse_commit_name(name))]
        found = [load_commit(backend, clip, number, header.fingerprint_digest) for clip, number in sorted(parsed)]
        data = to_parquet(found)
        old = tuple(header.files.get(layout.MANIFEST, ()))[-1:]
        both = dataclasses.replace(header, files={**header.files, layout.MANIFEST: (*old, sha256(data))})
        save_header(backend, both)
        put(backend, layout.MANIFEST, data)
        save_header(backend, dataclasses.replace(header, files={**header.files, layout.MANIFEST: (sha256(data),)}))
    return len(found)


def seal_complete(store: FeatureStore) -> bool:
    """Seal a store that lacks nothing, unless its manifest is up to date; return whether it was sealed.

    Every job may ask when it ends: whichever commits last finds the store complete. Clips and arrays can be added
    afterwards; the commit records decide what exists, and the manifest only saves reading them.

    Raises:
        CorruptionError, StorageError, StoreError: as `seal`; what is committed stays.
    """
    store.refresh()
    if store.index.sealed or store.missing(quarantined=True):
        return False
    seal(store.backend, store.board)
    return True


def drop(backend: Backend) -> None:
    """Remove the manifest before commit records change; readers then read the records."""
    if backend.delete(layout.MANIFEST):
        backend.sync([""])


def to_parquet(found: list[CommitRecord]) -> bytes:
    """Return the table: one row per committed shard, in order of clip, generation and array."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [(record, name, shard) for record in found for name, shard in sorted(record.arrays.items())]
    shas = {id(record): sha256(record.to_bytes()) for record in found}
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
    """The rows of a manifest; see `cache.format.commits.SealedRecords`."""

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
            f"not a readable manifest: {error}", where=where, fix="python -m cache seal store=... rebuilds it"
        ) from error
