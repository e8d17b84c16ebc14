"""The bytes of one shard: rows in order, their index, checksums and compression; written from a tensor, read by row.

Writing needs torch, reading does not.
"""

from __future__ import annotations

import struct
from concurrent.futures import Executor
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import google_crc32c
import numpy as np
import numpy.typing as npt

from cache.format.moments import Moments, MomentsBuilder
from cache.format.records import ShardRecord
from cache.format.spec import CODECS, ITEM_BYTES, ArraySpec, torch_dtype
from cache.storage.backend import Backend, Bytes, Handle, Stage
from configs.errors import CorruptionError, MissingError, NonFiniteError, SpatialprobeError, StoreError

if TYPE_CHECKING:
    import torch

ClipFeatures: TypeAlias = "torch.Tensor | npt.NDArray[np.floating]"
"""Features of one clip to be written: (rows, height, width, channels)."""


def write_shard(
    stage: Stage, features: ClipFeatures, spec: ArraySpec, executor: Executor
) -> tuple[ShardRecord, Moments]:
    """Write one clip of one array into a stage (without finishing it) while its statistics are computed.

    Args:
        stage: takes the bytes.
        features: (rows, height, width, channels); rounded to the stored dtype if it has another one. A tensor that
            already has it is not copied.
        spec: the array.
        executor: runs the writing beside the statistics.

    Raises:
        NonFiniteError: a value is NaN or infinite, or too large for the stored dtype.
        StoreError: wrong shape or kind of values.
    """
    source = _checked(features, spec)
    writing = executor.submit(write_rows, stage, source, spec)
    try:
        moments = channel_moments(source, spec)
    finally:
        crcs, size, chunks = writing.result()
    absmax = float(np.max(moments.absmax))
    if not np.isfinite(absmax):
        raise _not_finite(source, spec)
    return ShardRecord(size, tuple(crcs), absmax, chunks), moments


def channel_moments(source: torch.Tensor, spec: ArraySpec) -> Moments:
    """Return the statistics of the values as stored; bit-identical for identical values, whatever the threads."""
    builder = MomentsBuilder(spec.channels, spec.dtype)
    for row in range(spec.rows):
        builder.add(row_bytes(source, row, spec))
    return builder.moments


def row_bytes(source: torch.Tensor, row: int, spec: ArraySpec) -> Bytes:
    """Return one row as stored, little-endian; not copied when the tensor has the stored dtype."""
    import torch

    values = source[row].to("cpu", torch_dtype(spec.dtype)).contiguous().reshape(-1).view(torch.uint8).numpy()
    return np.asarray(values, np.uint8)


def write_rows(
    stage: Stage, source: torch.Tensor, spec: ArraySpec
) -> tuple[list[int], int, tuple[tuple[int, int, int], ...] | None]:
    """Write the rows and the index of a shard; return the checksums, the size, and where compressed rows lie."""
    crcs: list[int] = []
    chunks: list[tuple[int, int, int]] = []
    offset = 0
    for row in range(spec.rows):
        data = row_bytes(source, row, spec)
        crcs.append(crc32c(data))
        if spec.compression == "none":
            stage.write(data)
            continue
        packed = compress_row(data, spec)
        stage.write(packed)
        chunks.append((offset, len(packed), crc32c(packed)))
        offset += len(packed)
    if spec.compression == "none":
        index = raw_index(spec)
        stage.write(index)
        return crcs, spec.rows * spec.row_bytes + len(index), None
    index = shard_index([(start, size) for start, size, _ in chunks])
    stage.write(index)
    return crcs, offset + len(index), tuple(chunks)


def _checked(features: ClipFeatures, spec: ArraySpec) -> torch.Tensor:
    import torch

    if isinstance(features, np.ndarray):
        if features.dtype.name == "bfloat16":
            source = torch.from_numpy(features.view(np.uint16)).view(torch.bfloat16)
        elif features.dtype.kind == "f":
            source = torch.from_numpy(np.ascontiguousarray(features))
        else:
            raise StoreError("features must be floating point", found=features.dtype, where=f"array {spec.name}")
    else:
        source = features.detach()
    if not source.is_floating_point():
        raise StoreError("features must be floating point", found=source.dtype, where=f"array {spec.name}")
    if tuple(source.shape) != spec.shape:
        raise StoreError(
            "features have the wrong shape",
            expected=f"(rows, height, width, channels) = {spec.shape}",
            found=tuple(source.shape),
            where=f"array {spec.name}",
        )
    return source


def _not_finite(source: torch.Tensor, spec: ArraySpec) -> NonFiniteError:
    import torch

    bad = sum(int((~torch.isfinite(source[row])).sum()) for row in range(spec.rows))
    where = f"array {spec.name}"
    if bad:
        return NonFiniteError(
            f"{bad} of {source.numel()} feature values are NaN or infinite",
            where=where,
            fix="quarantine the clip and go on; if all clips fail, compute in another dtype (dtype=...)",
        )
    largest = max(float(source[row].abs().max()) for row in range(spec.rows))
    return NonFiniteError(
        f"values overflow {spec.dtype}",
        expected=f"at most {torch.finfo(torch_dtype(spec.dtype)).max:g}",
        found=f"{largest:g}",
        where=where,
        fix="store this array as bfloat16 or float32",
    )


def check_shard(backend: Backend, key: str, spec: ArraySpec, record: ShardRecord) -> str:
    """Return what is wrong with one shard, "" if nothing is."""
    try:
        handle = backend.open(key)
        if handle.size != record.bytes:
            return f"has {handle.size} bytes instead of {record.bytes}"
        for row in range(spec.rows):
            read_row(handle, spec, record, row)
    except MissingError:
        return "the shard is missing"
    except SpatialprobeError as error:
        return error.problem
    ranges = [(row * spec.row_bytes, spec.row_bytes) for row in range(spec.rows)]
    if record.chunks is not None:
        ranges = [(offset, size) for offset, size, _ in record.chunks]
    return _check_index(handle, shard_index(ranges))


def has_rows_of(record: ShardRecord, spec: ArraySpec) -> bool:
    """Return whether a record has checksums, and places of compressed rows, for as many rows as an array."""
    return len(record.crc32c) == spec.rows and (record.chunks is None or len(record.chunks) == spec.rows)


def read_row(handle: Handle, spec: ArraySpec, record: ShardRecord, row: int) -> Bytes:
    """Return the uncompressed bytes of one row, compared with the checksums of the commit record.

    Raises:
        CorruptionError: they differ.
    """
    if not has_rows_of(record, spec):
        raise CorruptionError("the commit record doesn't fit the rows of its array")
    out = np.empty(spec.row_bytes, np.uint8)
    if record.chunks is None:
        handle.read_into(row * spec.row_bytes, [out.data])
    else:
        offset, size, crc = record.chunks[row]
        data = bytearray(size)
        handle.read_into(offset, [memoryview(data)])
        if crc32c(bytes(data)) != crc:
            raise CorruptionError(f"row {row} has changed since it was written")
        decompress_row(bytes(data), out.data, spec)
    if crc32c(out) != record.crc32c[row]:
        raise CorruptionError(f"row {row} has changed since it was written")
    return out


def _check_index(handle: Handle, expected: bytes) -> str:
    found = bytearray(len(expected))
    handle.read_into(handle.size - len(expected), [memoryview(found)])
    return "" if bytes(found) == expected else "the shard index has changed since it was written"


# ---- index, checksums and compression


def shard_index(ranges: list[tuple[int, int]]) -> bytes:
    """Return the index at the end of a shard: (offset, bytes) of each row as little-endian uint64, then its crc32c."""
    body = struct.pack(f"<{2 * len(ranges)}Q", *(number for pair in ranges for number in pair))
    return body + struct.pack("<I", google_crc32c.value(body))


def raw_index(spec: ArraySpec) -> bytes:
    """Return the index of an uncompressed shard: rows follow each other without gaps."""
    return shard_index([(row * spec.row_bytes, spec.row_bytes) for row in range(spec.rows)])


def crc32c(data: bytes | Bytes) -> int:
    """Return the CRC-32C of some bytes."""
    if not isinstance(data, bytes):
        data = np.frombuffer(data, np.uint8)
    return int(google_crc32c.value(data))


def compress_row(row: Bytes, spec: ArraySpec) -> bytes:
    """Return one row compressed by the codec of its array, as any Zarr reader undoes it."""
    size = ITEM_BYTES[spec.dtype]  # steers blosc's bit shuffling
    return bytes(_codec(spec.compression).encode(row.view({2: np.uint16, 4: np.uint32}[size])))


def decompress_row(data: bytes, out: memoryview, spec: ArraySpec) -> None:
    """Decompress one row into `out`.

    Raises:
        CorruptionError: the bytes are not a compressed row of this size.
    """
    try:
        decoded = np.frombuffer(_codec(spec.compression).decode(data), np.uint8)
    except (RuntimeError, ValueError) as error:
        raise CorruptionError(f"a compressed row can't be decoded: {error}", where=spec.name) from error
    if decoded.nbytes != len(out):
        raise CorruptionError(
            "a compressed row has the wrong size", expected=len(out), found=decoded.nbytes, where=spec.name
        )
    np.frombuffer(out, np.uint8)[:] = decoded


@cache
def _codec(compression: str) -> Any:
    import numcodecs

    if compression == "zstd":
        return numcodecs.Zstd(**CODECS["zstd"])
    return numcodecs.Blosc(**{**CODECS["blosc-lz4"], "shuffle": numcodecs.Blosc.BITSHUFFLE})
