"""Where everything of a store lies, and the exact bytes of its Zarr metadata and shard indexes."""

from __future__ import annotations

import json
import struct
from typing import Any

import google_crc32c
import numpy as np

from cache.format.spec import ArraySpec
from cache.storage.backend import Bytes

SCHEMA = "featurecache/1"
"""Name and version of the format. A reader refuses any other version."""

STORE = "store.json"
CLIPS = "clips.parquet"
MANIFEST = "manifest.parquet"
GROUP = "features.zarr"
COMMITS = "commits"
STATISTICS = "stats"
LEASES = "leases"
QUARANTINE = "quarantine"
BACKUP = "backup"
TEMPORARY = "tmp"
FOLDERS = (GROUP, COMMITS, STATISTICS, LEASES, QUARANTINE, BACKUP, TEMPORARY)
"""Folders of every store."""


def array_folder(array: str) -> str:
    """Folder of one array."""
    return f"{GROUP}/{array}"


def shard_key(array: str, clip: int) -> str:
    """Key of the shard that holds one clip of one array."""
    return f"{GROUP}/{array}/c.{clip}.0.0.0.0"


def commit_name(clip: int, generation: int) -> str:
    """File name of a commit record, without folder."""
    return f"{clip:08d}.{generation:04d}.json"


def parse_commit_name(name: str) -> tuple[int, int] | None:
    """Return (clip, generation) of a commit record's file name, None for any other name."""
    parts = name.split(".")
    if len(parts) == 3 and parts[2] == "json" and parts[0].isdecimal() and parts[1].isdecimal():
        clip, generation = int(parts[0]), int(parts[1])
        if name == commit_name(clip, generation):
            return clip, generation
    return None


def statistics_key(clip: int, generation: int) -> str:
    """Key of the channel statistics that belong to a commit record."""
    return f"{STATISTICS}/{clip:08d}.{generation:04d}.safetensors"


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


def group_metadata(identity: dict[str, Any]) -> bytes:
    """Return `zarr.json` of the group."""
    attributes = {"schema": SCHEMA, **{key: identity[key] for key in sorted(identity)}}
    return _json({"zarr_format": 3, "node_type": "group", "attributes": attributes})


def array_metadata(spec: ArraySpec, clips: int) -> bytes:
    """Return `zarr.json` of one array with `clips` clips."""
    rows, height, width, channels = spec.shape
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return _json(
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": [clips, rows, height, width, channels],
            "data_type": spec.dtype,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, rows, height, width, channels]}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
            "fill_value": "NaN",
            "codecs": [
                {
                    "name": "sharding_indexed",
                    "configuration": {
                        "chunk_shape": [1, 1, height, width, channels],
                        "codecs": [little, *_compressor(spec)],
                        "index_codecs": [little, {"name": "crc32c"}],
                        "index_location": "end",
                    },
                }
            ],
            "attributes": {"schema": SCHEMA, **spec.to_json()},
            "dimension_names": ["clip", "row", "y", "x", "channel"],
            "storage_transformers": [],
        }
    )


def _compressor(spec: ArraySpec) -> list[dict[str, Any]]:
    if spec.compression == "zstd":
        return [{"name": "zstd", "configuration": {"level": 3, "checksum": False}}]
    if spec.compression == "blosc-lz4":
        size = {"float32": 4}.get(spec.dtype, 2)
        settings = {"typesize": size, "cname": "lz4", "clevel": 5, "shuffle": "bitshuffle", "blocksize": 0}
        return [{"name": "blosc", "configuration": settings}]
    return []


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
