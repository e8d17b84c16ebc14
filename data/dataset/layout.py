"""What a prepared dataset consists of on the disk, and dataset.json, which says what it was made from.

dataset.json          identity: format, maker, parameters, taxonomy, conventions; written first, never changed
index.parquet         one row per clip
frames.parquet        one row per clip and position: pose, intrinsics, flags, class pixel counts
instances.parquet     one row per clip and instance
queries/<plan>.<clips>.json  frozen query plans; <clips> names the set of clips they were drawn for
manifest.json         SHA-256 of the three tables; written last: a dataset without it is unfinished
report.json           optional facts about the dataset, for example ceilings that the rooms compute
status.parquet        what became of each clip in the last run of `prepare`, with seconds and bytes
quarantine/<clip>.json  clips that could not be made, with the reason
clips/<clip>/clip.json, frames.parquet, frames/%05d.jpg, gt.zarr

Every file that is read again has a digest: dataset.json, manifest.json, report.json, query plans and quarantined
reasons in their own last line, tables in the manifest, clip.json in the index, the files of a clip in its clip.json.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from configs import commands
from configs.errors import CorruptionError, DatasetError, StaleError, VersionError
from configs.files import read_sealed, sealed_json, write_once
from configs.identity import differences, digest, plain
from data.dataset.clip import DatasetInfo

FORMAT = "spatialprobe-dataset"
VERSION = 2
CONVENTIONS = {
    "pixels": "pixel i covers [i, i+1), its centre is i + 0.5",
    "camera": "OpenCV axes: x right, y down, z forward",
    "poses": "camera-to-world, 4x4; pose_valid marks the usable ones",
    "intrinsics": "3x3 in pixels of the dense ground truth",
    "depth": "z in the camera frame, float32 rounded to 12 mantissa bits, 0 = unknown",
    "instance": "uint16, 0 = none, 1..N per clip",
}
TABLES = ("index.parquet", "frames.parquet", "instances.parquet")
STATUS_FILE = "status.parquet"
CLIP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
DEPTH_BITS = 12
COMPARED = ("kind", "maker_version", "parameters", "splits", "taxonomy", "class_names", "units")
"""Fields that change a value. The name and the licence note may differ."""


def check_clip_id(clip_id: str) -> str:
    """Return a clip id that is safe as a folder name.

    Raises:
        DatasetError: it has slashes, spaces, a leading dot, or is empty or too long.
    """
    if not CLIP_NAME.fullmatch(clip_id):
        raise DatasetError("not a usable clip id", expected="letters, digits, _ - and .", found=repr(clip_id))
    return clip_id


def check_version(found: dict[str, object], where: Path) -> None:
    """Refuse a dataset that another program or another version wrote.

    Raises:
        DatasetError: not a prepared dataset at all.
        VersionError: written by a newer or an older version; the message names the command that makes it again.
    """
    if found.get("format") != FORMAT:
        raise DatasetError(
            "not a prepared dataset", expected=f"format {FORMAT}", found=found.get("format"), where=where
        )
    version = found.get("version")
    if version != VERSION:
        again = commands.data("prepare", kind=found.get("kind"), dataset=where.parent.name)
        older = isinstance(version, int) and version < VERSION
        raise VersionError(
            f"this dataset has {'an older' if older else 'another'} format version",
            expected=VERSION,
            found=version,
            where=where,
            fix=f"remove {where.parent} and make it again: {again}, with the options that it was made with"
            if older
            else "update spatialprobe, or prepare the dataset again into another root=...",
        )


def clip_folder(dataset: Path, clip_id: str) -> Path:
    """Folder of one clip."""
    return dataset / "clips" / check_clip_id(clip_id)


def frame_name(position: int) -> str:
    """File name of the frame at a clip position."""
    return f"frames/{position:05d}.jpg"


def plan_path(dataset: Path, plan: str) -> Path:
    """File of one query plan."""
    return dataset / "queries" / f"{plan}.json"


def identity_record(info: DatasetInfo, splits: dict[str, Any]) -> dict[str, Any]:
    """Return the content of dataset.json.

    Args:
        info: facts of the source.
        splits: parameters of the split: `select`, `report`, `salt`.
    """
    record: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "name": info.name,
        "kind": info.kind,
        "maker_version": info.maker_version,
        "parameters": plain(dict(info.parameters)),
        "splits": plain(splits),
        "taxonomy": info.taxonomy,
        "class_names": list(info.class_names),
        "licence": info.licence,
        "units": info.units,
        "conventions": CONVENTIONS,
    }
    record["parameters_sha256"] = digest({key: record[key] for key in COMPARED})
    return record


def read_identity(dataset: Path) -> dict[str, Any]:
    """Return dataset.json of a prepared dataset.

    Raises:
        MissingError: no dataset there.
        DatasetError, VersionError: not ours, or of another version.
        CorruptionError: it can't be read, or its digest does not fit its content.
    """
    path = dataset / "dataset.json"

    def how_to_mend() -> str:
        again = commands.prepare_dataset(dataset.name)
        return f"restore it from a copy, or delete it and run {again} again" if path.exists() else again

    record = read_sealed(path, fix=how_to_mend, check=lambda found: check_version(found, path))
    if record.get("parameters_sha256") != digest({key: record.get(key) for key in COMPARED}):
        raise CorruptionError("dataset.json doesn't fit its own fingerprint", where=path, fix=how_to_mend())
    texts = [record.get(key) for key in ("name", "kind", "licence", "units")]
    names = record.get("class_names")
    if not (isinstance(names, list) and all(isinstance(text, str) for text in (*texts, *names))):
        raise CorruptionError("dataset.json doesn't describe a dataset", where=path, fix=how_to_mend())
    return record


def claim_identity(dataset: Path, record: dict[str, Any]) -> None:
    """Write dataset.json if it is not there, else check that it agrees.

    Raises:
        StaleError: the dataset was made from other parameters; the message lists each difference.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    if not write_once(dataset / "dataset.json", sealed_json(record)):
        check_identity(dataset, record)


def check_identity(dataset: Path, record: dict[str, Any]) -> None:
    """Compare with the dataset.json that is there.

    Raises:
        StaleError: the dataset was made from other parameters; the message lists each difference.
    """
    found = read_identity(dataset)
    changed = [d for key in COMPARED for d in differences(found.get(key), record[key], key)]
    if changed:
        raise StaleError(
            "this dataset was prepared with other parameters (on disk -> requested):\n    "
            + "\n    ".join(str(d) for d in changed),
            where=dataset,
            fix="use the old parameters, choose another name with dataset=..., or remove the folder",
        )
