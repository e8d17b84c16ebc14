"""Writes what annotators and the projection code leave beside a ScanNet recording."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.dataset.taxonomy import SCANNET20, SCANNET200
from data.emit.scannet_scan import RawScan

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
    write_zip(path, {f"{folder}/{rank}.png": png(mask) for rank, mask in enumerate(masks)})


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Write a zip whose bytes depend on nothing but its members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def png(image: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Encode a (H, W) or (H, W, 3) image as PNG, 8 or 16 bits per sample as the array has."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def split_lists(scans: Iterable[tuple[str, str | None]]) -> dict[str, str]:
    """Return file name -> content of the official lists for (scan, split) pairs; all but train goes to validation."""
    rows: dict[str, list[str]] = {"scannetv2_train.txt": [], "scannetv2_val.txt": []}
    for name, split in scans:
        rows["scannetv2_train.txt" if split == "train" else "scannetv2_val.txt"].append(name)
    return {file: "".join(f"{name}\n" for name in names) for file, names in rows.items()}
