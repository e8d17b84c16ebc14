"""Names and versions of everything inside a prepared dataset's folder.

dataset.json          identity: format, maker, parameters, taxonomy, conventions; written first, never changed
index.parquet         one row per clip
frames.parquet        one row per clip and position: pose, intrinsics, flags, class pixel counts
instances.parquet     one row per clip and instance
views/<plan>.<clips>.parquet  frozen evaluation views; <clips> names the set of clips they were drawn for
manifest.json         SHA-256 of the tables above; written last: a dataset without it is unfinished
report.json           optional facts about the dataset, for example ceilings that the rooms compute
status.parquet        what became of each clip in the last run of `prepare`, with seconds and bytes
quarantine/<clip>.json  clips that could not be made, with the reason
clips/<clip>/clip.json, frames.parquet, frames/%05d.jpg, gt.zarr
"""

from __future__ import annotations

import re
from pathlib import Path

from configs.errors import DatasetError, VersionError

FORMAT = "spatialprobe-dataset"
VERSION = 1
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


def check_clip_id(clip_id: str) -> str:
    """Return a clip id that is safe as a folder name.

    Raises:
        DatasetError: it has slashes, spaces, a leading dot, or is empty or too long.
    """
    if not CLIP_NAME.fullmatch(clip_id):
        raise DatasetError("not a usable clip id", expected="letters, digits, _ - and .", found=repr(clip_id))
    return clip_id


def check_version(found: dict[str, object], where: Path) -> None:
    """Refuse a dataset that another program or a newer version wrote.

    Raises:
        DatasetError: not a prepared dataset at all.
        VersionError: written by a newer version.
    """
    if found.get("format") != FORMAT:
        raise DatasetError(
            "not a prepared dataset", expected=f"format {FORMAT}", found=found.get("format"), where=where
        )
    version = found.get("version")
    if version != VERSION:
        raise VersionError(
            "this dataset has another format version",
            expected=VERSION,
            found=version,
            where=where,
            fix="update spatialprobe, or prepare the dataset again into another root=...",
        )


def clip_folder(dataset: Path, clip_id: str) -> Path:
    """Folder of one clip."""
    return dataset / "clips" / check_clip_id(clip_id)


def frame_name(position: int) -> str:
    """File name of the frame at a clip position."""
    return f"frames/{position:05d}.jpg"


def plan_path(dataset: Path, plan: str) -> Path:
    """File of one evaluation view plan."""
    return dataset / "views" / f"{plan}.parquet"
