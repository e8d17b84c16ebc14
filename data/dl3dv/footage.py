"""Reads one window of a scene: checked frames as they will be stored, and the cameras that belong to them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.clip import QUERY_POSITIONS, ClipRefused
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.geometry import Footage
from data.dl3dv.lens import Lens, resample, sampling, undistorted
from data.dl3dv.scenes import Parts, Scene, list_frames, number_of, parts_of
from data.dl3dv.transforms import FIX, NAME, Transforms, read_transforms
from data.dl3dv.windows import Window, windows
from data.files import sha256_bytes
from data.images import color_frame, encode_jpeg, picture_size, read_color

Size = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Scenery:
    """What else is known of a clip after reading it.

    Attributes:
        numbers: (T,) number of each frame in the recording, as in the files' names.
        repeated: (T,) True where a frame has the very bytes of an earlier one.
        window: where the clip lies in the scene.
        window_of: frames of the whole scene.
        lens: of the raw frames, None if unknown.
        batch: name of the folder above the scene's.
        images: what the frames came from, for example `images_4`.
        warnings: one sentence each.
        sources: name -> SHA-256 of what was read.
    """

    numbers: NDArray[np.int64]
    repeated: NDArray[np.bool_]
    window: Window
    window_of: int
    lens: Lens | None
    batch: str
    images: str
    warnings: Sequence[str]
    sources: Mapping[str, str]


class _Optics(NamedTuple):
    """Lens of the raw frames, lens of the stored ones, and the (h, w, 2) map between them if pixels move."""

    raw: Lens | None
    stored: Lens | None
    moved: NDArray[np.float64] | None


def read_footage(config: DL3DVConfig, raw: Path, scene: Scene, clip_id: str, k: int) -> tuple[Footage, Scenery]:
    """Read the k-th window of a scene.

    Args:
        config: the import's options.
        raw: folder of the raw data; nothing outside it is read.
        scene: one of `find_scenes`.
        clip_id: the clip's name.
        k: which window, 0 unless `clips=all`.

    Raises:
        DatasetError: a file is missing, broken or contradicts another; the message names it.
        ClipRefused: the scene has fewer than `min_frames` frames.
    """
    parts = parts_of(scene, config.images, raw)
    assert parts.frames is not None
    files = list_frames(parts.frames, raw)
    written = None if parts.transforms is None else parts.read(parts.transforms)
    cameras = None if parts.transforms is None else read_transforms(written or b"", parts.transforms)
    if cameras is not None:
        _check_images(cameras, files, parts)
    if len(files) < config.min_frames:
        raise ClipRefused(
            f"{len(files)} frames are too few for a clip", expected=f"at least {config.min_frames}", where=parts.frames,
            fix=f"add min_frames={len(files)}",
        )  # fmt: skip
    window = windows(config.clips, scene.name, len(files), config.window)[k]
    chosen = files[window.start : window.start + window.length]
    digests: list[str] = []
    frames: list[bytes] = []
    size: Size | None = None
    optics = _Optics(None, None, None)
    for file in chosen:
        content = parts.read(file)
        digests.append(sha256_bytes(content))
        if size is None:
            size = picture_size(content, file)
            optics = _optics(config, cameras, size, parts)
        frames.append(_frame(content, file, size, config, optics))
    assert size is not None
    stored_size = _stored_size(size, config.long_side)
    stems = [file.stem for file in chosen]
    poses, registered = _poses(cameras, stems)
    repeated = np.array([digest in digests[:i] for i, digest in enumerate(digests)])
    footage = Footage(
        clip_id=clip_id,
        parts=parts,
        frames=frames,
        frame_size=stored_size,
        stems=stems,
        query=[p for p in QUERY_POSITIONS if p < len(chosen)],
        lens=None if optics.stored is None else optics.stored.resized(stored_size[1], stored_size[0]),
        poses=poses,
        registered=registered,
        digest=hashlib.sha256(b"".join(bytes.fromhex(sha256_bytes(frame)) for frame in frames)).hexdigest(),
    )
    sources = {"frames": sha256_bytes("".join(digests).encode())}
    if written is not None:
        sources[NAME] = sha256_bytes(written)
    scenery = Scenery(
        numbers=np.array([number_of(file) for file in chosen], np.int64),
        repeated=repeated,
        window=window,
        window_of=len(files),
        lens=optics.raw,
        batch=scene.folder.resolve().parent.name,
        images=parts.frames.name,
        warnings=[f"{int(repeated.sum())} frames repeat earlier ones"] if repeated.any() else [],
        sources=sources,
    )
    return footage, scenery


def _check_images(cameras: Transforms, files: Sequence[Path], parts: Parts) -> None:
    """Refuse a scene of which images are lost. Images without a camera are normal: COLMAP drops some."""
    there = {file.stem for file in files}
    lost = [stem for stem in cameras.poses if stem not in there]
    if lost:
        raise DatasetError(
            f"{len(lost)} images that {NAME} lists are missing", expected=f"{len(cameras.poses)} images",
            found=f"no {lost[0]}.png", where=parts.frames, fix="fetch the scene again, or move its folder away",
        )  # fmt: skip


def _optics(config: DL3DVConfig, cameras: Transforms | None, size: Size, parts: Parts) -> _Optics:
    if cameras is None:
        if config.undistort:
            raise DatasetError(
                f"undistort=true needs {NAME}", where=parts.frames, fix="fetch the scene again, or add undistort=false"
            )
        return _Optics(None, None, None)
    height, width = size
    full = cameras.lens
    off = abs(width * full.height - height * full.width)
    if off > max(1.5 * full.width, 1.5 * full.height, 0.01 * height * full.width):
        turned = abs(height * full.height - width * full.width) <= 0.01 * height * full.height
        raise DatasetError(
            f"frames and {NAME} have other shapes" + (": one of them is turned" if turned else ""),
            expected=f"the shape of {full.width}x{full.height}", found=f"{width}x{height}", where=parts.transforms,
            fix=FIX,
        )  # fmt: skip
    lens = full.resized(width, height)
    if not (config.undistort and lens.distorted):
        return _Optics(lens, lens, None)
    try:
        target = undistorted(lens)
    except ValueError as error:
        raise DatasetError(f"can't undistort: {error}", where=parts.transforms, fix="add undistort=false") from error
    return _Optics(lens, target, sampling(target, lens))


def _stored_size(size: Size, long_side: int) -> Size:
    """Return (height, width) of the stored frames; frames are never enlarged."""
    if long_side == 0 or max(size) <= long_side:
        return size
    share = long_side / max(size)
    return max(1, round(size[0] * share)), max(1, round(size[1] * share))


def _frame(content: bytes, file: Path, size: Size, config: DL3DVConfig, optics: _Optics) -> bytes:
    stored = _stored_size(size, config.long_side)
    if optics.moved is None:
        return color_frame(content, file, size=stored, source_size=size, quality=config.jpeg_quality)
    moved = resample(read_color(content, file, size=size), optics.moved, nearest=False)
    encoded = encode_jpeg(moved, config.jpeg_quality)
    return encoded if stored == size else color_frame(encoded, file, size=stored, quality=config.jpeg_quality)


def _poses(cameras: Transforms | None, stems: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    poses = np.full((len(stems), 4, 4), np.nan)
    known = {} if cameras is None else cameras.poses
    for i, stem in enumerate(stems):
        if stem in known:
            poses[i] = known[stem]
    return poses, np.array([stem in known for stem in stems], np.bool_)
