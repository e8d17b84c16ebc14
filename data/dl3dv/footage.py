"""Reads one window of a scene: checked frames as they will be stored, and the cameras that belong to them.

The raw frames come from a folder of images or from a video.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from configs.files import sha256_bytes
from data.dataset.clip import QUERY_POSITIONS, ClipRefused
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.geometry import Footage
from data.dl3dv.lens import Lens, resample, sampling, undistorted
from data.dl3dv.scenes import Parts, Scene, Window, list_frames, number_of, parts_of, windows
from data.dl3dv.transforms import FIX, NAME, Transforms, read_transforms
from data.raw.folder import RawFolder
from data.raw.images import Size, color_frame, encode_jpeg, picture_size, read_color, resize_color
from data.raw.video import index_video, read_frames


@dataclass(frozen=True)
class Processing:
    """What happens to a frame before it is stored.

    Attributes:
        size: (height, width) that every raw frame must have.
        stored: (height, width) after it.
        moved: (h, w, 2) of `data.dl3dv.lens.sampling` at the raw size if the frame is undistorted, else None.
        quality: of a new JPEG encoding.
    """

    size: Size
    stored: Size
    moved: NDArray[np.float64] | None
    quality: int


class Frames(Protocol):
    """All frames of a scene in recording order."""

    @property
    def stems(self) -> Sequence[str]:
        """Names without ending, by which `transforms.json` knows them."""

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers in the recording: those in the names of images, or of a video's frames from 0."""

    @property
    def where(self) -> Path:
        """Folder or file, for messages."""

    @property
    def notes(self) -> Sequence[str]:
        """What is odd about them as a whole."""

    def size(self, first: int) -> Size:
        """Return (height, width) of a frame."""

    def read(self, places: range, processing: Processing) -> Iterator[tuple[bytes, str]]:
        """Yield JPEG and digest of the raw frame at each place.

        Raises:
            DatasetError: a frame is broken or of another size; the message names it.
        """


class Pictures:
    """Frames in a folder; JPEGs that need no change keep their bytes."""

    def __init__(self, folder: Path, parts: Parts) -> None:
        (self._files, self.notes), self._parts, self.where = list_frames(folder, parts.root), parts, folder
        self.stems: Sequence[str] = [file.stem for file in self._files]
        self.numbers: Sequence[int] = [number_of(file) for file in self._files]

    def size(self, first: int) -> Size:
        """Return (height, width) of a frame, by its header."""
        return picture_size(self._parts.read(self._files[first]), self._files[first])

    def read(self, places: range, processing: Processing) -> Iterator[tuple[bytes, str]]:
        """Yield JPEG and digest of the file at each place."""
        for place in places:
            file = self._files[place]
            content = self._parts.read(file)
            if processing.moved is None:
                frame = color_frame(
                    content, file, size=processing.stored, source_size=processing.size, quality=processing.quality
                )
            else:
                frame = _encoded(read_color(content, file, size=processing.size), processing, file)
            yield frame, sha256_bytes(content)


class Film:
    """Every n-th frame of a video, called `frame_00001` and on, as if they had been cut out of it.

    Raises:
        DatasetError: not a video, or its end is missing.
    """

    def __init__(self, path: Path, parts: Parts, step: int) -> None:
        self.where = RawFolder(parts.root).path(path.relative_to(parts.root))
        index = index_video(self.where)
        if index.cut_off:
            raise DatasetError("the end of this video is missing", found=index.cut_off, where=path, fix="copy it again")
        self.notes: Sequence[str] = index.warnings
        self._stamps = index.stamps[::step]
        self.stems: Sequence[str] = [f"frame_{n:05d}" for n in range(1, len(self._stamps) + 1)]
        self.numbers: Sequence[int] = range(0, len(index.stamps), step)

    def size(self, first: int) -> Size:
        """Return (height, width) of a frame, by decoding it."""
        _, frame = next(read_frames(self.where, [int(self._stamps[first])]))
        return frame.shape[0], frame.shape[1]

    def read(self, places: range, processing: Processing) -> Iterator[tuple[bytes, str]]:
        """Yield JPEG and digest of the pixels at each place."""
        wanted = [int(self._stamps[place]) for place in places]
        for place, (_, frame) in zip(places, read_frames(self.where, wanted), strict=True):
            if frame.shape[:2] != processing.size:
                raise DatasetError(
                    f"the size changes at {self.stems[place]}", expected=processing.size, found=frame.shape[:2],
                    where=self.where,
                )  # fmt: skip
            yield _encoded(frame, processing, self.where), sha256_bytes(frame.tobytes())


def _encoded(pixels: NDArray[np.uint8], processing: Processing, where: Path) -> bytes:
    if processing.moved is not None:
        pixels = resample(pixels, processing.moved, nearest=False)
    if processing.stored != processing.size:
        pixels = resize_color(pixels, processing.stored)
    return encode_jpeg(pixels, processing.quality)


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
        ClipRefused: the scene has fewer than `min_frames` frames, or not the size asked for.
    """
    parts = parts_of(scene, config.images, raw)
    source: Frames = Film(parts.video, parts, config.video_step) if parts.video else Pictures(_folder(parts), parts)
    written = None if parts.transforms is None else parts.read(parts.transforms)
    cameras = None if parts.transforms is None else read_transforms(written or b"", parts.transforms)
    if cameras is not None and parts.video and not config.video_poses:
        cameras = Transforms(cameras.lens, {}, cameras.angles)
    count = len(source.stems)
    if cameras is not None:
        _check_images(cameras, source)
    if count < config.min_frames:
        raise ClipRefused(
            f"{count} frames are too few for a clip", expected=f"at least {config.min_frames}", where=source.where,
            fix=f"add min_frames={count}",
        )  # fmt: skip
    window = windows(config.clips, scene.name, count, config.window)[k]
    places = range(window.start, window.start + window.length)
    size = source.size(places[0])
    if config.image_size not in ("any", f"{size[1]}x{size[0]}"):
        raise ClipRefused(
            "images of another size than asked for", expected=config.image_size, found=f"{size[1]}x{size[0]}",
            where=source.where, fix="add image_size=any",
        )  # fmt: skip
    optics = _optics(config, cameras, size, parts)
    processing = Processing(size, _stored_size(size, config.long_side), optics.moved, config.jpeg_quality)
    read = list(source.read(places, processing))
    frames, digests = [frame for frame, _ in read], [digest for _, digest in read]
    stems = [source.stems[place] for place in places]
    poses, registered = _poses(cameras, stems)
    repeated = np.array([digest in digests[:i] for i, digest in enumerate(digests)])
    height, width = processing.stored
    footage = Footage(
        clip_id=clip_id,
        parts=parts,
        frames=frames,
        frame_size=processing.stored,
        stems=stems,
        query=[p for p in QUERY_POSITIONS if p < len(stems)],
        lens=None if optics.stored is None else optics.stored.resized(width, height),
        poses=poses,
        registered=registered,
        digest=hashlib.sha256(b"".join(bytes.fromhex(sha256_bytes(frame)) for frame in frames)).hexdigest(),
    )
    sources = {"frames": sha256_bytes("".join(digests).encode())}
    if written is not None:
        sources[NAME] = sha256_bytes(written)
    scenery = Scenery(
        numbers=np.array([source.numbers[place] for place in places], np.int64),
        repeated=repeated,
        window=window,
        window_of=count,
        lens=optics.raw,
        batch=scene.folder.resolve().parent.name,
        images="video" if parts.video else source.where.name,
        warnings=[*source.notes, *([f"{int(repeated.sum())} frames repeat earlier ones"] if repeated.any() else [])],
        sources=sources,
    )
    return footage, scenery


def _folder(parts: Parts) -> Path:
    assert parts.frames is not None
    return parts.frames


def _check_images(cameras: Transforms, source: Frames) -> None:
    """Refuse a scene of which images are lost. Images without a camera are normal: COLMAP drops some."""
    there = set(source.stems)
    lost = [stem for stem in cameras.poses if stem not in there]
    if lost:
        raise DatasetError(
            f"{len(lost)} images that {NAME} lists are missing", expected=f"{len(cameras.poses)} images",
            found=f"no {lost[0]}", where=source.where, fix="fetch the scene again, or move its folder away",
        )  # fmt: skip


def _optics(config: DL3DVConfig, cameras: Transforms | None, size: Size, parts: Parts) -> _Optics:
    if cameras is None:
        if config.undistort:
            raise DatasetError(
                f"undistort=true needs {NAME}",
                where=parts.frames or parts.video,
                fix="fetch the scene again, or add undistort=false",
            )
        return _Optics(None, None, None)
    height, width = size
    full = cameras.lens_at(height, width)
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


def _poses(cameras: Transforms | None, stems: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    poses = np.full((len(stems), 4, 4), np.nan)
    known = {} if cameras is None else cameras.poses
    for i, stem in enumerate(stems):
        if stem in known:
            poses[i] = known[stem]
    return poses, np.array([stem in known for stem in stems], np.bool_)
