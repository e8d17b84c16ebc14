"""Compression of single rows with the codecs of an archive store, as any Zarr reader would undo it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from cache.storage.backend import Bytes
from configs.errors import CorruptionError


@cache
def _codec(compression: str, item_bytes: int) -> Any:
    import numcodecs

    if compression == "zstd":
        return numcodecs.Zstd(level=3)
    codec = numcodecs.Blosc(cname="lz4", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE, blocksize=0)
    return codec


def encode(row: Bytes, compression: str, item_bytes: int) -> bytes:
    """Return one compressed row."""
    values = row.view({2: np.uint16, 4: np.uint32}[item_bytes])  # the item size steers blosc's bit shuffling
    return bytes(_codec(compression, item_bytes).encode(values))


def decode(data: bytes, out: memoryview, compression: str, item_bytes: int, where: str) -> None:
    """Decompress one row into `out`.

    Raises:
        CorruptionError: the bytes are no compressed row of this size.
    """
    try:
        decoded = np.frombuffer(_codec(compression, item_bytes).decode(data), np.uint8)
    except (RuntimeError, ValueError) as error:
        raise CorruptionError(f"a compressed row can't be decoded: {error}", where=where) from error
    if decoded.nbytes != len(out):
        raise CorruptionError(
            "a compressed row has the wrong size", expected=len(out), found=decoded.nbytes, where=where
        )
    np.frombuffer(out, np.uint8)[:] = decoded
