"""The raw frames of a scene, from a folder of images or a video: their names, and each as stored JPEG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from configs.files import sha256_bytes
from data.dl3dv.lens import resample
from data.dl3dv.scenes import Parts, list_frames, number_of
from data.raw.images import Size, color_frame, encode_jpeg, picture_size, read_color


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
        self._files, self._parts, self.where = list_frames(folder, parts.root), parts, folder
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
        from data.raw.folder import RawFolder
        from data.raw.video import index_video

        self.where = RawFolder(parts.root).path(path.relative_to(parts.root))
        index = index_video(self.where)
        if index.cut_off:
            raise DatasetError("the end of this video is missing", found=index.cut_off, where=path, fix="copy it again")
        self._stamps = index.stamps[::step]
        self.stems: Sequence[str] = [f"frame_{n:05d}" for n in range(1, len(self._stamps) + 1)]
        self.numbers: Sequence[int] = range(0, len(index.stamps), step)

    def size(self, first: int) -> Size:
        """Return (height, width) of a frame, by decoding it."""
        from data.raw.video import read_frames

        _, frame = next(read_frames(self.where, [int(self._stamps[first])]))
        return frame.shape[0], frame.shape[1]

    def read(self, places: range, processing: Processing) -> Iterator[tuple[bytes, str]]:
        """Yield JPEG and digest of the pixels at each place."""
        from data.raw.video import read_frames

        wanted = [int(self._stamps[place]) for place in places]
        for place, (_, frame) in zip(places, read_frames(self.where, wanted), strict=True):
            if frame.shape[:2] != processing.size:
                raise DatasetError(
                    f"the size changes at {self.stems[place]}", expected=processing.size, found=frame.shape[:2],
                    where=self.where,
                )  # fmt: skip
            yield _encoded(frame, processing, self.where), sha256_bytes(frame.tobytes())


def _encoded(pixels: NDArray[np.uint8], processing: Processing, where: Path) -> bytes:
    from PIL import Image

    if processing.moved is not None:
        pixels = resample(pixels, processing.moved, nearest=False)
    if processing.stored != processing.size:
        height, width = processing.stored
        pixels = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BILINEAR))
    return encode_jpeg(pixels, processing.quality)
