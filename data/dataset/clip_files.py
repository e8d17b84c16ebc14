"""Writes one clip into a prepared dataset: a folder that appears whole or not at all."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from data.dataset.check import check_clip, clip_positions
from data.dataset.clip import Clip
from data.dataset.dense import round_depth, write_dense
from data.dataset.files import atomic_folder, file_digests, json_bytes, sha256_bytes
from data.dataset.layout import FORMAT, VERSION, clip_folder, frame_name


def write_clip(dataset: Path, clip: Clip, *, n_classes: int, parameters_sha256: str) -> None:
    """Check a clip and put it into the dataset.

    Args:
        dataset: folder of the prepared dataset.
        clip: what an importer or generator made.
        n_classes: classes of the dataset's taxonomy.
        parameters_sha256: identity of the dataset, kept with the clip.

    Raises:
        DatasetError: the clip breaks the contract; nothing is written.
        OSError: the disk is full or can't be written; nothing is left behind.
    """
    check_clip(clip, n_classes)
    final = clip_folder(dataset, clip.clip_id)
    if final.is_dir():
        return
    with atomic_folder(final) as folder:
        (folder / "frames").mkdir()
        for position, content in zip(clip_positions(clip), clip.frames, strict=True):
            (folder / frame_name(int(position))).write_bytes(content)
        dense = {"depth": clip.depth, "instance": clip.instance, "confidence": clip.confidence}
        write_dense(folder / "gt.zarr", clip.gt_frames, {k: v for k, v in dense.items() if v is not None})
        _frames_table(clip).to_parquet(folder / "frames.parquet", index=False)
        record = {
            "format": f"{FORMAT}-clip",
            "version": VERSION,
            "parameters_sha256": parameters_sha256,
            "index": _index_row(clip),
            "instances": [_instance_row(clip, i) for i in range(len(clip.instances))],
            "facts": {key: _plain(value) for key, value in clip.facts.items()},
            "warnings": list(clip.warnings),
            "sources": dict(clip.sources),
            "files": file_digests(folder),
        }
        (folder / "clip.json").write_bytes(json_bytes(record))


def _index_row(clip: Clip) -> dict[str, Any]:
    """The columns of index.parquet that a clip knows by itself."""
    positions = clip_positions(clip)
    centres = clip.cam2world[clip.pose_valid][:, :3, 3].astype(np.float64)
    baseline = float(np.linalg.norm(centres - centres[0], axis=1).max()) if len(centres) else None
    depth = None if clip.depth is None else clip.depth[clip.depth > 0]
    return {
        "clip_id": clip.clip_id,
        "group_id": clip.group_id,
        "split": clip.split,
        "n_frames": len(clip.frames),
        "n_gt_frames": len(clip.gt_frames),
        "first_position": int(positions[0]),
        "last_position": int(positions[-1]),
        "rgb_h": clip.frame_size[0],
        "rgb_w": clip.frame_size[1],
        "gt_h": clip.gt_size[0],
        "gt_w": clip.gt_size[1],
        "n_instances": len(clip.instances),
        "n_things": sum(item.is_thing for item in clip.instances),
        "n_pose_invalid": int((~clip.pose_valid).sum()),
        "n_dup_frames": int(clip.frame_dup.sum()),
        "has_tags": clip.class_pixels is not None,
        "has_instance": clip.instance is not None,
        "has_depth": clip.depth is not None,
        "depth_kind": clip.depth_kind,
        "pose_kind": clip.pose_kind,
        "median_depth": float(np.median(depth)) if depth is not None and depth.size else None,
        "baseline": baseline,
        "gt_sha256": _ground_truth_digest(clip),
    }


def _ground_truth_digest(clip: Clip) -> str:
    """SHA-256 of the dense values as read back, independent of codec and library versions."""
    parts = [np.ascontiguousarray(clip.gt_frames).tobytes()]
    if clip.depth is not None:
        parts.append(round_depth(clip.depth).tobytes())
    parts += [np.ascontiguousarray(a).tobytes() for a in (clip.instance, clip.confidence) if a is not None]
    return sha256_bytes(b"".join(parts))


def _instance_row(clip: Clip, i: int) -> dict[str, Any]:
    item = clip.instances[i]
    seen = None if clip.instance is None else (clip.instance == item.id).sum(axis=(1, 2))
    return {
        "instance": item.id,
        "class_index": item.class_index,
        "raw_label": item.raw_label,
        "is_thing": item.is_thing,
        "source_id": item.source_id,
        "n_views": None if seen is None else int((seen > 0).sum()),
        "pixels": None if seen is None else int(seen.sum()),
    }


def _frames_table(clip: Clip) -> Any:
    import pandas as pd

    return pd.DataFrame(
        {
            "clip_id": clip.clip_id,
            "position": clip_positions(clip),
            "frame_src": clip.frame_src,
            "frame_dup": clip.frame_dup,
            "pose_valid": clip.pose_valid,
            "cam2world": list(clip.cam2world.reshape(-1, 16)),
            "intrinsics": list(clip.intrinsics.reshape(-1, 9)),
            "class_pixels": None if clip.class_pixels is None else list(clip.class_pixels),
        }
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
