"""Dense ground truth of one clip as a plain Zarr v3 group: one chunk per frame, one shard per array.

Depth passes numcodecs' BitRound before Zarr's own zstd, ids go through Zarr's own Blosc, and each chunk carries a
CRC-32C: standard codecs, so that any Zarr reader opens the group and none returns damaged values. BitRound is applied
to the values, not recorded as a filter: decoding needs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import CorruptionError, MissingError
from data.dataset.layout import DEPTH_BITS

KINDS = ("depth", "instance", "confidence")


def write_dense(folder: Path, gt_frames: NDArray[np.int32], arrays: dict[str, NDArray[Any]]) -> None:
    """Write the dense arrays of a clip, each (G, H, W), into a new Zarr group.

    Args:
        folder: the group to create.
        gt_frames: (G,) clip positions of the rows.
        arrays: any of "depth" float32, "instance" uint16, "confidence" float16.
    """
    import zarr
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    group = zarr.create_group(store=str(folder), zarr_format=3)
    group.attrs.update({"positions": [int(p) for p in gt_frames], "conventions": "see dataset.json"})
    for name in KINDS:
        if name not in arrays:
            continue
        values = round_depth(arrays[name]) if name == "depth" else arrays[name]
        count, height, width = values.shape
        codec = BloscCodec(cname="zstd", clevel=5, shuffle="bitshuffle") if name == "instance" else ZstdCodec(level=3)
        array = group.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(1, height, width),
            shards=(count, height, width),
            compressors=[codec, Crc32cCodec()],
            dimension_names=("frame", "y", "x"),
        )
        array[:] = values


def round_depth(depth: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return depth rounded to 12 mantissa bits (relative error at most 2^-13), the value that a reader gets back."""
    from numcodecs import BitRound

    encoded = BitRound(keepbits=DEPTH_BITS).encode(np.ascontiguousarray(depth, dtype=np.float32).copy())
    return np.asarray(encoded).view(np.float32).reshape(depth.shape)


def read_dense(folder: Path, name: str, positions: Sequence[int]) -> NDArray[Any]:
    """Read one dense array at some clip positions.

    Args:
        folder: the clip's `gt.zarr`.
        name: "depth", "instance" or "confidence".
        positions: clip positions, any order.

    Returns:
        (len(positions), H, W) in the stored dtype.

    Raises:
        MissingError: the clip has no such ground truth, or not at one of the positions.
        CorruptionError: the bytes can't be decoded.
    """
    rows, array = _open(str(folder), name)
    missing = [p for p in positions if p not in rows]
    if missing:
        raise MissingError(
            f"no {name} at position {missing[0]}", expected=f"one of {sorted(rows)}", found=missing[0], where=folder
        )
    result = np.empty((len(positions), *array.shape[1:]), dtype=array.dtype)
    try:
        for i, position in enumerate(positions):  # one chunk each; fancy indexing of sharded arrays is far slower
            result[i] = array[rows[position]]
    except (ValueError, RuntimeError, OSError) as error:
        raise CorruptionError(
            f"can't decode {name}: {error}",
            where=folder,
            fix="python -m data verify dataset=... names the broken clips",
        ) from error
    return result


def dense_names(folder: Path) -> tuple[str, ...]:
    """Return which dense arrays a clip has."""
    return tuple(name for name in KINDS if (folder / name / "zarr.json").is_file())


@lru_cache(maxsize=4096)
def _open(folder: str, name: str) -> tuple[dict[int, int], Any]:
    import zarr

    path = Path(folder)
    if not (path / name / "zarr.json").is_file():
        raise MissingError(f"this clip has no {name}", where=path)
    try:
        group = zarr.open_group(folder, mode="r", zarr_format=3)
        rows = {int(position): row for row, position in enumerate(group.attrs["positions"])}  # type: ignore[arg-type]
        return rows, group[name]
    except (ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise CorruptionError(
            f"can't open the ground truth: {error}",
            where=path / name,
            fix="python -m data verify dataset=... names the broken clips",
        ) from error
