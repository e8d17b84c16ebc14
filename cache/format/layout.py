"""Where every file of a store lies, and the exact bytes of its Zarr metadata."""

from __future__ import annotations

import json
from typing import Any

from cache.format.spec import CODECS, ITEM_BYTES, ArraySpec, is_array_name
from cache.storage.backend import TEMPORARY

SCHEMA = "featurecache/1"
"""Name and version of the format. Readers reject any other version."""

STORE = "store.json"
CLIPS = "clips.parquet"
MANIFEST = "manifest.parquet"
GROUP = "features.zarr"
COMMITS = "commits"
STATISTICS = "stats"
LEASES = "leases"
QUARANTINE = "quarantine"
BACKUP = "backup"
FOLDERS = (GROUP, COMMITS, STATISTICS, LEASES, QUARANTINE, BACKUP, TEMPORARY)
"""Folders of every store."""


def array_folder(array: str) -> str:
    """Folder of one array."""
    return f"{GROUP}/{array}"


def is_metadata_key(key: str) -> bool:
    """Return whether a key is that of a file whose digest `store.json` lists: the tables and the metadata of Zarr."""
    if key in (CLIPS, MANIFEST, f"{GROUP}/zarr.json"):
        return True
    folder, _, name = key.rpartition("/")
    group, _, array = folder.partition("/")
    return group == GROUP and name == "zarr.json" and is_array_name(array)


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


def quarantine_key(clip: int) -> str:
    """Key of the record that keeps a clip from being tried again."""
    return f"{QUARANTINE}/{clip:08d}.json"


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
    settings = CODECS[spec.compression]
    if spec.compression == "zstd":
        return [{"name": "zstd", "configuration": {**settings, "checksum": False}}]
    if spec.compression == "blosc-lz4":
        return [{"name": "blosc", "configuration": {"typesize": ITEM_BYTES[spec.dtype], **settings}}]
    return []


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode() + b"\n"
