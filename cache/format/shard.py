"""From a tensor to the bytes of a shard: rows in order, checksums and channel statistics on the way."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from cache.format import codec, layout
from cache.format.commits import ShardRecord
from cache.format.moments import Moments, MomentsBuilder
from cache.format.spec import ITEM_BYTES, ArraySpec
from cache.storage.backend import Bytes, Stage
from configs.errors import NonFiniteError, StoreError

Features: TypeAlias = torch.Tensor | npt.NDArray[np.floating]

TORCH_DTYPE = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
"""The torch dtype of each stored dtype."""


def write_shard(stage: Stage, features: Features, spec: ArraySpec, executor: Executor) -> tuple[ShardRecord, Moments]:
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
    """Return one row as stored, little-endian; a view when the tensor has the stored dtype."""
    values = source[row].to("cpu", TORCH_DTYPE[spec.dtype]).contiguous().reshape(-1).view(torch.uint8).numpy()
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
        crcs.append(layout.crc32c(data))
        if spec.compression == "none":
            stage.write(data)
            continue
        packed = codec.encode(data, spec.compression, ITEM_BYTES[spec.dtype])
        stage.write(packed)
        chunks.append((offset, len(packed), layout.crc32c(packed)))
        offset += len(packed)
    if spec.compression == "none":
        index = layout.raw_index(spec)
        stage.write(index)
        return crcs, spec.rows * spec.row_bytes + len(index), None
    index = layout.shard_index([(start, size) for start, size, _ in chunks])
    stage.write(index)
    return crcs, offset + len(index), tuple(chunks)


def _checked(features: Features, spec: ArraySpec) -> torch.Tensor:
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
        expected=f"at most {torch.finfo(TORCH_DTYPE[spec.dtype]).max:g}",
        found=f"{largest:g}",
        where=where,
        fix="store this array as bfloat16 or float32",
    )
