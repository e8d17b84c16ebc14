"""One room as a ScanNet scan, in memory and on the disk: `.sens`, exported folder, annotation files.

The layout of `.sens` recordings (version 4 here) is described in `data.scannet.sens`.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from data.dataset.clip import Clip
from data.dataset.taxonomy import SCANNET20, SCANNET200
from data.raw.images import encode_png

MILLIMETRES = 1000
LARGEST_ID = 254
"""Instance images have 8 bits, and the projection code keeps the last value for itself."""
FRAME_TIME_US = 33_333
"""Microseconds between frames at 30 Hz."""
TSV_COLUMNS = (
    "id", "raw_category", "category", "count", "nyu40id", "eigen13id", "nyuClass", "nyu40class", "eigen13class",
    "ModelNet40", "ModelNet10", "ShapeNetCore55", "synsetoffset", "wnsynsetid", "wnsynsetkey", "mpcat40",
    "mpcat40index",
)  # fmt: skip
"""Header of the official labels table."""
_ALIASES = {"sofa": "couch", "otherfurniture": "furniture"}
LABEL_IDS = {name: SCANNET200.source_ids[SCANNET200.index(_ALIASES.get(name, name))] for name in SCANNET20.names}
"""Word -> id in label images. The rooms' ceilings are missing on purpose: real annotators use words, too, that the
table lacks."""


@dataclass(frozen=True)
class RawObject:
    """One object of the aggregation, numbered from 0, with the mesh segments that it consists of, by the annotation."""

    number: int
    label: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class RawScan:
    """A recording of N frames.

    Attributes:
        name: `sceneRRRR_SS`.
        colour: N JPEG images.
        size: (height, width) of all images in pixels.
        depth: (N, H, W) uint16 millimetres, 0 = unknown.
        cam2world: (N, 4, 4) float32, -inf where tracking was lost.
        intrinsics: (3, 3) camera matrix of all images.
        masks: (N, H, W) uint8, 0 = none, else object number + 1.
        objects: the annotated objects.
        room_type: kind of room.
    """

    name: str
    colour: tuple[bytes, ...]
    size: tuple[int, int]
    depth: NDArray[np.uint16]
    cam2world: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    masks: NDArray[np.uint8]
    objects: tuple[RawObject, ...]
    room_type: str

    def frames(self, ranks: NDArray[np.int64]) -> dict[str, object]:
        """Return the per-frame fields for other frames, in the order of `ranks`; for `dataclasses.replace`."""
        return {
            "colour": tuple(self.colour[rank] for rank in ranks.tolist()),
            "depth": self.depth[ranks],
            "cam2world": self.cam2world[ranks],
            "masks": self.masks[ranks],
        }


def as_scan(clip: Clip, name: str, still: int = 0) -> RawScan:
    """Return a clip of the rooms, with dense ground truth at every position, as a recording.

    Args:
        clip: made with `render=all dense=all`.
        name: `sceneRRRR_SS`.
        still: how often the first and the last frame are repeated at the ends: the camera stands still there.

    Raises:
        ConfigError: more ids than 8-bit masks can hold.
    """
    assert clip.depth is not None and clip.instance is not None and len(clip.gt_frames) == len(clip.frames)
    if any(item.source_id > LARGEST_ID for item in clip.instances):
        raise ConfigError(
            "instance images have 8 bits", expected=f"ids up to {LARGEST_ID}",
            found=max(item.source_id for item in clip.instances), fix="lower id_gap= or objects=",
        )  # fmt: skip
    source_ids = np.array([0, *(item.source_id for item in clip.instances)], np.uint8)
    scan = RawScan(
        name=name,
        colour=tuple(clip.frames),
        size=clip.frame_size,
        depth=np.round(clip.depth * MILLIMETRES).clip(0, 65535).astype(np.uint16),
        cam2world=clip.cam2world,
        intrinsics=clip.intrinsics[0],
        masks=source_ids[clip.instance],
        objects=tuple(
            RawObject(item.source_id - 1, item.raw_label, tuple(range(3 * item.source_id, 3 * item.source_id + 3)))
            for item in clip.instances
        ),
        room_type=str(clip.facts["room_type"]),
    )
    last = len(clip.frames) - 1
    ranks = np.clip(np.arange(-still, last + 1 + still), 0, last)
    return RawScan(**{**vars(scan), **scan.frames(ranks)}) if still else scan


def write_sens(
    path: Path,
    colour: Sequence[bytes],
    depth: Sequence[bytes],
    cam2world: NDArray[np.float32],
    intrinsics: NDArray[np.float32],
    colour_size: tuple[int, int],
    depth_size: tuple[int, int],
) -> None:
    """Write a recording with JPEG colour and zlib depth in millimetres.

    Args:
        path: the file.
        colour: N JPEG images.
        depth: N depth images of `pack_depth`.
        cam2world: (N, 4, 4) float32 poses, written as they are.
        intrinsics: (3, 3) camera matrix, in pixels of the colour image; the depth camera gets it scaled to its size.
        colour_size, depth_size: (height, width) of the images.
    """
    name = b"rooms"
    height, width = depth_size
    scale = np.diag([width / colour_size[1], height / colour_size[0], 1]).astype(np.float32)
    with path.open("wb") as file:
        file.write(struct.pack("<IQ", 4, len(name)) + name)
        for matrix in (homogeneous(intrinsics), np.eye(4), homogeneous(scale @ intrinsics), np.eye(4)):
            file.write(np.asarray(matrix, "<f4").tobytes())
        file.write(struct.pack("<iiIIIIfQ", 2, 1, colour_size[1], colour_size[0], width, height, 1000.0, len(colour)))
        for number, (image, blob) in enumerate(zip(colour, depth, strict=True)):
            time = number * FRAME_TIME_US
            file.write(np.asarray(cam2world[number], "<f4").tobytes())
            file.write(struct.pack("<QQQQ", time, time, len(image), len(blob)) + image + blob)
        file.write(struct.pack("<Q", 0))  # the list of IMU records, empty


def pack_depth(depth: NDArray[np.uint16]) -> bytes:
    """Return a depth image, (H, W) uint16 millimetres with 0 = unknown, as it is stored."""
    return zlib.compress(np.ascontiguousarray(depth, "<u2").tobytes())


def homogeneous(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a (3, 3) camera matrix as (4, 4), as ScanNet stores it."""
    result = np.eye(4, dtype=np.float32)
    result[:3, :3] = matrix
    return result


def labels_table() -> str:
    """Return a labels table of 20 lines below the official header."""
    lines = ["\t".join(TSV_COLUMNS)]
    for name, nyu40 in zip(SCANNET20.names, SCANNET20.source_ids, strict=True):
        values = dict.fromkeys(TSV_COLUMNS, "") | {
            "id": str(LABEL_IDS[name]), "raw_category": name, "category": name, "count": "1", "nyu40id": str(nyu40),
            "nyu40class": name,
        }  # fmt: skip
        lines.append("\t".join(values[column] for column in TSV_COLUMNS))
    return "\n".join(lines) + "\n"


def aggregation(scan: RawScan) -> str:
    """Return the aggregation file of a scan."""
    groups = [
        {"id": rank, "objectId": item.number, "segments": list(item.segments), "label": item.label}
        for rank, item in enumerate(scan.objects)
    ]
    content = {
        "sceneId": f"scannet.{scan.name}", "appId": "rooms.v1", "segGroups": groups,
        "segmentsFile": f"scannet.{scan.name}_vh_clean_2.0.010000.segs.json",
    }  # fmt: skip
    return json.dumps(content)


def scene_text(scan: RawScan) -> str:
    """Return `<scan>.txt`: facts of the recording as `key = value` lines."""
    height, width = scan.size
    fx, fy, cx, cy = (float(scan.intrinsics[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2)))
    identity = " ".join(str(float(v)) for v in np.eye(4).ravel())
    values: dict[str, object] = {
        "axisAlignment": identity, "colorHeight": height, "colorToDepthExtrinsics": identity, "colorWidth": width,
        "depthHeight": height, "depthWidth": width, "fx_color": fx, "fx_depth": fx, "fy_color": fy, "fy_depth": fy,
        "mx_color": cx, "mx_depth": cx, "my_color": cy, "my_depth": cy, "numColorFrames": len(scan.colour),
        "numDepthFrames": len(scan.colour), "numIMUmeasurements": 0, "sceneType": scan.room_type,
    }  # fmt: skip
    return "".join(f"{key} = {value}\n" for key, value in values.items())


def label_ids(scan: RawScan) -> NDArray[np.uint16]:
    """Return (N, H, W) uint16 raw label ids, 0 where the table lacks the word."""
    table = np.zeros(256, np.uint16)
    for item in scan.objects:
        table[item.number + 1] = LABEL_IDS.get(item.label, 0)
    return table[scan.masks]


def write_masks(path: Path, folder: str, masks: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write one PNG per frame into a zip: members `<folder>/<frame>.png`, 8 or 16 bits as the array has."""
    write_zip(path, {f"{folder}/{rank}.png": encode_png(mask) for rank, mask in enumerate(masks)})


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but its members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def split_lists(scans: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return file name -> content of the official lists for (scan, split) pairs; all but train goes to validation."""
    rows: dict[str, list[str]] = {"scannetv2_train.txt": [], "scannetv2_val.txt": []}
    for name, split in scans:
        rows["scannetv2_train.txt" if split == "train" else "scannetv2_val.txt"].append(name)
    return {file: "".join(f"{name}\n" for name in names) for file, names in rows.items()}


def write_exported(folder: Path, scan: RawScan) -> None:
    """Write the exported folder of a scan; numbers without leading zeros, matrices with six decimals."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    for rank, image in enumerate(scan.colour):
        (folder / "color" / f"{rank}.jpg").write_bytes(image)
        (folder / "depth" / f"{rank}.png").write_bytes(encode_png(scan.depth[rank]))
        (folder / "pose" / f"{rank}.txt").write_text(matrix_text(scan.cam2world[rank]))
    camera, identity = matrix_text(homogeneous(scan.intrinsics)), matrix_text(np.eye(4, dtype=np.float32))
    for kind in ("color", "depth"):
        (folder / "intrinsic" / f"intrinsic_{kind}.txt").write_text(camera)
        (folder / "intrinsic" / f"extrinsic_{kind}.txt").write_text(identity)


def matrix_text(matrix: NDArray[np.float32]) -> str:
    """Return a matrix as the exporter writes it."""
    buffer = io.StringIO()
    np.savetxt(buffer, matrix, fmt="%f")
    return buffer.getvalue()


def write_scan(folder: Path, scan: RawScan, layout: str = "both") -> None:
    """Write one scan as ScanNet distributes it.

    Args:
        folder: created; its name must be the scan's.
        scan: the recording.
        layout: "sens", "exported" or "both".
    """
    folder.mkdir(parents=True)
    name = scan.name
    if layout != "exported":
        write_sens(
            folder / f"{name}.sens", scan.colour, [pack_depth(image) for image in scan.depth], scan.cam2world,
            scan.intrinsics, scan.size, scan.size,
        )  # fmt: skip
    if layout != "sens":
        write_exported(folder / "exported", scan)
    (folder / f"{name}.aggregation.json").write_text(aggregation(scan), encoding="utf-8")
    (folder / f"{name}.txt").write_text(scene_text(scan), encoding="utf-8")
    write_masks(folder / f"{name}_2d-instance-filt.zip", "instance-filt", scan.masks)
    write_masks(folder / f"{name}_2d-label-filt.zip", "label-filt", label_ids(scan))
