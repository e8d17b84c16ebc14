"""The files of one clip: written whole or not at all, compared with their digests, read back frame by frame.

The clip's record, clip.json, is written last and holds size and SHA-256 of every other file; the index of the dataset
holds the SHA-256 of the record.

Dense ground truth is a plain Zarr v3 group with one chunk per frame and one shard per array. Depth passes numcodecs'
BitRound before Zarr's own zstd, ids go through Zarr's own Blosc, and each chunk carries a CRC-32C: standard codecs, so
that any Zarr reader opens the group and none returns damaged values. BitRound is applied to the values, not recorded as
a filter: decoding needs nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs import commands
from configs.errors import CorruptionError, MissingError, VersionError, malformed, version_fix
from configs.files import (
    atomic_folder,
    file_digests,
    read_regular,
    read_sealed,
    sealed_json,
    sha256_bytes,
    sha256_file,
)
from data.dataset.check import check_clip, clip_positions
from data.dataset.clip import Clip
from data.dataset.layout import DEPTH_BITS, FORMAT, VERSION, clip_folder, frame_name

DENSE = ("depth", "instance", "confidence")
CLIP_FORMAT = f"{FORMAT}-clip"


class FileFacts(NamedTuple):
    """Size and digest of one file of a clip, as its record has them."""

    bytes: int
    sha256: str


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
            "format": CLIP_FORMAT,
            "version": VERSION,
            "parameters_sha256": parameters_sha256,
            "index": _index_row(clip),
            "instances": [_instance_row(clip, i) for i in range(len(clip.instances))],
            "facts": {key: _plain(value) for key, value in clip.facts.items()},
            "warnings": list(clip.warnings),
            "sources": dict(clip.sources),
            "files": {
                name: {"bytes": (folder / name).stat().st_size, "sha256": sha256}
                for name, sha256 in file_digests(folder).items()
            },
        }
        (folder / "clip.json").write_bytes(sealed_json(record))


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
        "n_frames": None if seen is None else int((seen > 0).sum()),
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


# ---- what was written, and whether it is still there


def read_clip_record(dataset: Path, clip_id: str) -> dict[str, Any]:
    """Return clip.json of a finished clip.

    Raises:
        MissingError: there is none.
        VersionError: another version of the format.
        CorruptionError: a byte of it has changed, or it isn't a clip's record.
    """
    path = clip_folder(dataset, clip_id) / "clip.json"
    fix = mend_clip(dataset, clip_id)
    record = read_sealed(path, fix=fix, check=lambda found: _check_format(found, path, fix))
    with malformed("not the record of a clip", path, fix):
        if not {"index", "instances", "facts", "warnings"} <= record.keys():
            raise ValueError("fields are missing")
        if not all(isinstance(text, str) for text in record["warnings"]):
            raise TypeError("warnings are texts")
        record["files"] = {name: _file_facts(name, **facts) for name, facts in record["files"].items()}
    return record


def _file_facts(name: str, *, bytes: int, sha256: str) -> FileFacts:
    if ".." in name.split("/") or name.startswith("/"):
        raise ValueError(f"{name!r} is not a file of a clip")
    if type(bytes) is not int or not isinstance(sha256, str):
        raise TypeError(f"size and digest of {name}: {bytes!r}, {sha256!r}")
    return FileFacts(bytes, sha256)


def _check_format(record: Mapping[str, Any], path: Path, fix: str) -> None:
    found = {key: record.get(key) for key in ("format", "version")}
    if found != {"format": CLIP_FORMAT, "version": VERSION}:
        raise VersionError(
            "not the record of a clip, or of another version", expected=f"{CLIP_FORMAT} {VERSION}",
            found=f"{found['format']} {found['version']}", where=path,
            fix=version_fix(found["version"], VERSION, fix),
        )  # fmt: skip


def mend_clip(dataset: Path, clip_id: str) -> str:
    """Return how a damaged clip is made again."""
    again = commands.data("prepare", dataset=dataset.name)
    return f"delete {clip_folder(dataset, clip_id)} and run the same `{again}` again"


def recorded_files(dataset: Path, clip_id: str, clip_sha256: str) -> Mapping[str, FileFacts]:
    """Return the files of a clip by name, relative to its folder, as its record has them.

    Args:
        dataset: folder of the dataset.
        clip_id: the clip.
        clip_sha256: digest of its record in the index.

    Raises:
        MissingError, VersionError: see `read_clip_record`.
        CorruptionError: the record is damaged, or not the one in the index.
    """
    record = read_clip_record(dataset, clip_id)
    path = clip_folder(dataset, clip_id) / "clip.json"
    found = sha256_file(path)
    if found != clip_sha256:
        raise CorruptionError(
            "the record of this clip is not the one in the index", expected=f"SHA-256 {clip_sha256[:12]}",
            found=found[:12], where=path, fix=mend_clip(dataset, clip_id),
        )  # fmt: skip
    files: Mapping[str, FileFacts] = record["files"]
    return files


def read_clip_file(dataset: Path, clip_id: str, name: str, expected: FileFacts) -> bytes:
    """Return the bytes of one file of a clip, compared with its digest.

    Raises:
        CorruptionError: it is missing, or not the file that was written.
    """
    path = clip_folder(dataset, clip_id) / name
    try:
        content = read_regular(path)
    except FileNotFoundError:
        raise CorruptionError("a file of this clip is missing", where=path, fix=mend_clip(dataset, clip_id)) from None
    if (found := sha256_bytes(content)) != expected.sha256:
        raise CorruptionError(
            "this is not the file that was written when the clip was prepared",
            expected=f"{expected.bytes} bytes with SHA-256 {expected.sha256[:12]}",
            found=f"{len(content)} bytes with {found[:12]}",
            where=path,
            fix=mend_clip(dataset, clip_id),
        )
    return content


def file_facts(dataset: Path, clip_id: str, files: Mapping[str, FileFacts], name: str) -> FileFacts:
    """Return what the record of a clip knows of one file.

    Raises:
        CorruptionError: the record doesn't list it.
    """
    try:
        return files[name]
    except KeyError:
        path = clip_folder(dataset, clip_id) / "clip.json"
        raise CorruptionError(
            "the record of this clip lacks a file", expected=name, where=path, fix=mend_clip(dataset, clip_id)
        ) from None


def check_dense(dataset: Path, clip_id: str, name: str, files: Mapping[str, FileFacts]) -> bool:
    """Compare the files of one dense array with their digests; return whether the clip has this array.

    Args:
        dataset: folder of the dataset.
        clip_id: the clip.
        name: "depth", "instance" or "confidence".
        files: see `recorded_files`.

    Raises:
        CorruptionError: a file has changed, is missing, or was added.
    """
    folder = clip_folder(dataset, clip_id)
    within = f"gt.zarr/{name}/"
    expected = {"gt.zarr/zarr.json", *(file for file in files if file.startswith(within))}
    for file in (folder / within).rglob("*"):
        if file.is_file() and file.relative_to(folder).as_posix() not in expected:
            raise CorruptionError("this file does not belong to the clip", where=file, fix=mend_clip(dataset, clip_id))
    if len(expected) == 1:
        return False
    for written in sorted(expected):
        read_clip_file(dataset, clip_id, written, file_facts(dataset, clip_id, files, written))
    return True


def changed_files(dataset: Path, clip_id: str, files: Mapping[str, FileFacts]) -> list[Path]:
    """Return the files of a clip that are not those that were written, without reading most of them.

    The record was written last: a file that isn't newer than the record and has the recorded size is taken to be
    unchanged, so that thousands of clips take seconds. All others are hashed.
    """
    folder = str(clip_folder(dataset, clip_id))
    written = os.stat(f"{folder}/clip.json").st_mtime_ns  # noqa: PTH116  # a path object costs more than the call
    changed = []
    for name, expected in files.items():
        path = f"{folder}/{name}"
        try:
            facts = os.stat(path)  # noqa: PTH116
        except FileNotFoundError:
            changed.append(Path(path))
            continue
        newer = facts.st_mtime_ns > written
        if facts.st_size != expected.bytes or (newer and sha256_file(Path(path)) != expected.sha256):
            changed.append(Path(path))
    return changed


# ---- dense ground truth


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
    for name in DENSE:
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


def read_dense(folder: Path, name: str, positions: Sequence[int], version: str = "") -> NDArray[Any]:
    """Read one dense array at some clip positions.

    Args:
        folder: the clip's `gt.zarr`.
        name: "depth", "instance" or "confidence".
        positions: clip positions, any order.
        version: digest of the clip's record: arrays are kept open, but not beyond a change of it.

    Returns:
        (len(positions), H, W) in the stored dtype.

    Raises:
        MissingError: the clip has no such ground truth, or not at one of the positions.
        CorruptionError: the bytes can't be decoded.
    """
    rows, array = _open_dense(str(folder), name, version)
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
            fix=f"{commands.data('verify', dataset=commands.ANY)} names the broken clips",
        ) from error
    return result


@lru_cache(maxsize=4096)
def _open_dense(folder: str, name: str, version: str) -> tuple[dict[int, int], Any]:
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
            fix=f"{commands.data('verify', dataset=commands.ANY)} names the broken clips",
        ) from error
