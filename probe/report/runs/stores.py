"""What feature stores say of themselves, from their small files alone: no feature is read."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cache.format.layout import COMMITS, STORE
from cache.format.records import parse
from configs.console import get_logger
from configs.errors import CorruptionError, MissingError, SpatialprobeError
from configs.files import dataset_path, features_path, logs_path, read_regular, read_with_digest
from data.dataset.layout import read_identity
from fusion.record import ENDING

log = get_logger("report")

_BYTES = {"bfloat16": 2, "float16": 2, "float32": 4}


@dataclass(frozen=True)
class StoreFacts:
    """What is known of a store; most fields are empty once it has been deleted.

    Attributes:
        short: first 12 digits of the fingerprint.
        fingerprint: everything that changes a value.
        recorded: what does not: device, versions.
        arrays: name -> specification as stored.
        clips: committed clips; None for a view and for a store that is gone.
        size: bytes of all files; None likewise.
    """

    short: str
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    recorded: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    clips: int | None = None
    size: int | None = None

    def bytes_per_clip(self, array: str) -> int | None:
        """Return the bytes of an array's values per clip, uncompressed; None if unknown."""
        spec = self.arrays.get(array)
        if spec is None or spec.get("dtype") not in _BYTES:
            return None
        height, width = spec["grid"]
        return int(spec["rows"] * height * width * spec["channels"] * _BYTES[spec["dtype"]])


def store_facts(root: str | None, dataset: str, source: str, short: str, *, measure: bool = True) -> StoreFacts:
    """Return what a store, or the record of a fused view, says of itself; little if it is gone.

    Args:
        root: artifact root.
        dataset, source: where it lies.
        short: first 12 digits of its fingerprint.
        measure: whether to add up the sizes of its files.
    """
    folder = features_path(root, dataset, source) / short
    for path in (folder / STORE, folder.with_name(f"{short}{ENDING}")):
        try:
            values = parse(read_regular(path), str(path))
        except OSError:
            continue
        except SpatialprobeError as error:
            log.warning("nothing is taken from a damaged file: %s", error)
            continue
        arrays = {str(array.get("name")): array for array in values.get("arrays", [])}
        stored = path.name == STORE
        return StoreFacts(
            short,
            values.get("fingerprint", {}),
            values.get("recorded", {}),
            arrays,
            len({name.name.split(".")[0] for name in (folder / COMMITS).glob("*.json")}) if stored else None,
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if stored and measure else None,
        )
    return StoreFacts(short)


@dataclass(frozen=True)
class Extraction:
    """What the last extraction of a source that did something took.

    Attributes:
        seconds: median per clip, in which reading, preparing, running and writing are added up; in a job they overlap.
        parameters: of the network, as far as it was loaded; None without a network or a note of it.
    """

    seconds: float | None = None
    parameters: int | None = None


def last_extraction(root: str | None, source: str) -> Extraction:
    """Read the log of the last extraction of a source; nothing is known without one."""
    import pandas as pd

    # Folders are named <date>-<time>-<source>-<process>; another source's name may end with this one's.
    folders = [
        path
        for path in sorted((logs_path(root) / "extract").glob(f"*-{source}-*"))
        if path.name.split("-", 2)[-1].rpartition("-")[0] == source
    ]
    for folder in reversed(folders):
        try:
            data = read_with_digest(folder / "extract_log.parquet", fix="delete it: no number but times comes from it")
            table = pd.read_parquet(io.BytesIO(data))
            done = table[table["status"] == "done"]
            parts = ["read_seconds", "preprocess_seconds", "device_seconds", "write_seconds"]
            if len(done):
                seconds = float(done[parts].sum(axis=1).median())
                return Extraction(seconds, int(done["parameters"].max()) or None if "parameters" in done else None)
        except CorruptionError as error:
            log.warning("no times are taken from a damaged log: %s", error)
        except (MissingError, OSError, ValueError, KeyError):
            continue
    return Extraction()


def dataset_kind(root: str | None, dataset: str) -> str:
    """Return what a prepared dataset was made from, such as `rooms` or `scannet`; empty if it is gone."""
    try:
        return str(read_identity(dataset_path(root, dataset)).get("kind", ""))
    except MissingError:
        return ""
    except SpatialprobeError as error:
        log.warning("nothing is taken from a damaged file: %s", error)
        return ""
