"""The frames of one recording, be it a video or a folder of pictures: how many, when, and as JPEG by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.raw.folder import RawFolder
from data.raw.images import Size, color_frame, encode_jpeg, picture_size, resize_color
from data.raw.listing import list_pictures
from data.raw.video import VideoIndex, index_video, read_frames
from data.video.recording import Recording


class Footage(Protocol):
    """Frames of a recording, numbered from 0 in the order in which they are shown."""

    @property
    def count(self) -> int:
        """How many there are."""

    @property
    def seconds(self) -> NDArray[np.float64] | None:
        """(count,) time of each after the first, None if unknown."""

    @property
    def cut_off(self) -> str:
        """What shows that the end of the recording is missing, "" if nothing does."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the recording."""

    def name(self, number: int) -> str:
        """What maps and poses call a frame: its number in a video, its file name without ending in a folder."""

    def read(self, numbers: Sequence[int], max_side: int, quality: int) -> tuple[list[bytes], Size, Size]:
        """Return frames as JPEG, their size, and their size before any reduction, both (height, width).

        Raises:
            DatasetError: a frame can't be read, or they differ in size.
        """


def open_footage(raw: RawFolder, recording: Recording) -> Footage:
    """Look at a recording, without decoding its frames.

    Raises:
        DatasetError: it can't be read at all.
    """
    path = raw.path(recording.frames)
    if recording.is_video:
        return VideoFootage(path, recording.stream, index_video(path, recording.stream))
    return PictureFootage.open(raw, recording)


def reduced(size: Size, max_side: int) -> Size:
    """Return (height, width) with the longer side at most `max_side` and the same shape."""
    scale = min(1.0, max_side / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


@dataclass(frozen=True)
class VideoFootage:
    """Frames of a video file; implements `Footage`."""

    path: Path
    stream: int | None
    index: VideoIndex

    @property
    def count(self) -> int:
        """Frames of the recording."""
        return len(self.index.stamps)

    @property
    def seconds(self) -> NDArray[np.float64]:
        """Time of each frame after the first."""
        return self.index.seconds

    @property
    def cut_off(self) -> str:
        """What shows that the end is missing."""
        return self.index.cut_off

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the file."""
        return self.index.warnings

    def name(self, number: int) -> str:
        """The frame's number."""
        return str(number)

    def read(self, numbers: Sequence[int], max_side: int, quality: int) -> tuple[list[bytes], Size, Size]:
        """Decode some frames, each once."""
        number_of = {int(self.index.stamps[number]): number for number in numbers}
        encoded: dict[int, bytes] = {}
        full: Size | None = None
        size: Size = (0, 0)
        for stamp, frame in read_frames(self.path, sorted(number_of), self.stream):
            if full is None:
                full = (frame.shape[0], frame.shape[1])
                size = reduced(full, max_side)
            if frame.shape[:2] != full:
                raise DatasetError(
                    f"the size changes at frame {number_of[stamp]}", expected=f"{full[1]}x{full[0]}",
                    found=f"{frame.shape[1]}x{frame.shape[0]}", where=self.path,
                )  # fmt: skip
            if size != full:
                frame = resize_color(frame, size)
            encoded[number_of[stamp]] = encode_jpeg(frame, quality)
        assert full is not None
        return [encoded[number] for number in numbers], size, full


@dataclass(frozen=True)
class PictureFootage:
    """Pictures in one folder in natural order; implements `Footage`. EXIF rotations are applied, as viewers do."""

    raw: RawFolder
    folder: str
    names: tuple[str, ...]
    rate: float | None
    cut_off: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def open(cls, raw: RawFolder, recording: Recording) -> PictureFootage:
        """List the pictures.

        Raises:
            DatasetError: there are none, or two with the same name but for the ending.
        """
        found = list_pictures(raw, recording.frames)
        if not found.names:
            where = raw.path(recording.frames)
            raise DatasetError("no pictures in this folder", found="; ".join(found.left_out) or None, where=where)
        return cls(raw, recording.frames, found.names, recording.rate, warnings=found.left_out)

    @property
    def count(self) -> int:
        """Pictures in the folder."""
        return len(self.names)

    @property
    def seconds(self) -> NDArray[np.float64] | None:
        """Time of each picture after the first, where the manifest gives a rate."""
        return None if self.rate is None else np.arange(len(self.names)) / self.rate

    def name(self, number: int) -> str:
        """The file name without ending."""
        return Path(self.names[number]).stem

    def read(self, numbers: Sequence[int], max_side: int, quality: int) -> tuple[list[bytes], Size, Size]:
        """Read some pictures; JPEGs that need no change keep their bytes."""
        encoded: dict[int, bytes] = {}
        full: Size | None = None
        size: Size = (0, 0)
        for number in dict.fromkeys(numbers):
            name = f"{self.folder}/{self.names[number]}"
            content, path = self.raw.read(name), self.raw.path(name)
            if full is None:
                full = picture_size(content, path, orientation="apply")
                size = reduced(full, max_side)
            encoded[number] = color_frame(
                content, path, size=size, source_size=full, orientation="apply", quality=quality
            )
        assert full is not None
        return [encoded[number] for number in numbers], size, full
