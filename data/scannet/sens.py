"""Reads `.sens` recordings (version 4): headers by seeking, then only the colour and depth blobs that are asked for.

Layout, little-endian: version u32, length of the sensor's name u64 and the name, four 4x4 float32 matrices (intrinsics
and extrinsics of colour, then of depth), colour and depth codec i32, colour and depth width and height u32, depth shift
f32, number of frames u64; per frame a pose of 16 float32, two timestamps and two sizes u64, then the two blobs; at the
end the number of IMU records u64 and 128 bytes each. Source: SensReader of the ScanNet repository.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.raw.depth import known_depth

VERSION = 4
COLOUR_CODECS = {0: "raw", 1: "png", 2: "jpeg"}
DEPTH_CODECS = {0: "raw", 1: "zlib", 2: "occi"}
FRAME_HEADER = 96
"""Bytes before the blobs of a frame: pose, two timestamps, two sizes."""
IMU_RECORD = 128
_FIXED = struct.Struct("<iiIIIIfQ")
_SIZES = struct.Struct("<QQ")
_LONGEST_NAME = 4096
_LARGEST_SIDE = 20_000


@dataclass(frozen=True)
class SensHeader:
    """What the beginning of a recording says.

    Attributes:
        sensor: the sensor's name.
        intrinsic_colour, intrinsic_depth: (4, 4) float32 camera matrices in pixels of their images.
        colour_codec, depth_codec: one of `COLOUR_CODECS`, `DEPTH_CODECS`.
        colour_size, depth_size: (height, width) in pixels.
        depth_shift: stored depth units per metre.
        frames: number of frames N.
        bytes: where the first frame begins.
    """

    sensor: str
    intrinsic_colour: NDArray[np.float32]
    intrinsic_depth: NDArray[np.float32]
    colour_codec: str
    depth_codec: str
    colour_size: tuple[int, int]
    depth_size: tuple[int, int]
    depth_shift: float
    frames: int
    bytes: int


@dataclass(frozen=True)
class SensIndex:
    """Where everything is in a recording.

    Attributes:
        poses: (N, 4, 4) float32 camera-to-world as stored, -inf or NaN where tracking was lost.
        colour, depth: (N, 2) int64 offset and size of the blobs in bytes.
        imu_records: number of IMU records at the end, None if that list is missing or cut.
    """

    poses: NDArray[np.float32]
    colour: NDArray[np.int64]
    depth: NDArray[np.int64]
    imu_records: int | None


class SensFile:
    """An open recording. Reads the header at once, the index on request, blobs one at a time.

    Args:
        path: the `.sens` file.

    Raises:
        DatasetError: not a recording of version 4, or its header is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.bytes_read = 0
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise DatasetError("the recording is not a regular file", where=path)
        try:
            self._descriptor = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise DatasetError(f"can't open the recording: {error.strerror}", where=path) from error
        try:
            self.size = os.fstat(self._descriptor).st_size
            if hasattr(os, "posix_fadvise"):  # no read-ahead: most of the file is skipped
                os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self.header = self._header()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        """Return the open file."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()

    def close(self) -> None:
        """Close the file; further reads fail."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def read_index(self) -> SensIndex:
        """Find all frames by reading 96 bytes of each.

        Raises:
            DatasetError: the file ends too early, or the header of a frame can't be right.
        """
        position, end = self.header.bytes, self.size
        heads: list[bytes] = []
        starts: list[int] = []
        read, sizes, descriptor = os.pread, _SIZES.unpack_from, self._descriptor
        for frame in range(self.header.frames):
            head = read(descriptor, FRAME_HEADER, position)
            if len(head) < FRAME_HEADER:
                raise self._truncated(frame, position + FRAME_HEADER)
            colour, depth = sizes(head, 80)
            heads.append(head)
            starts.append(position + FRAME_HEADER)
            position += FRAME_HEADER + colour + depth
            if position > end:
                raise self._truncated(frame, position)
        self.bytes_read += len(heads) * FRAME_HEADER
        headers = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, FRAME_HEADER)
        poses = np.ascontiguousarray(headers[:, :64]).view("<f4").reshape(-1, 4, 4)
        lengths = np.ascontiguousarray(headers[:, 80:]).view("<i8").reshape(-1, 2)
        colour_start = np.array(starts, np.int64)
        colour_place = np.stack([colour_start, lengths[:, 0]], axis=1)
        depth_place = np.stack([colour_start + lengths[:, 0], lengths[:, 1]], axis=1)
        self._check_poses(poses)
        return SensIndex(poses.astype(np.float32), colour_place, depth_place, self._imu_records(position))

    def read_colour(self, index: SensIndex, frame: int) -> bytes:
        """Return the encoded colour image of a frame, as stored.

        Raises:
            DatasetError: the blob is empty or doesn't begin as its codec does.
        """
        blob = self._blob(index.colour[frame])
        magic = {"jpeg": b"\xff\xd8", "png": b"\x89PNG"}.get(self.header.colour_codec, b"")
        if not blob or not blob.startswith(magic):
            raise DatasetError(
                f"the colour image of frame {frame} is not a {self.header.colour_codec} image", where=self.path,
                found=f"{len(blob)} bytes beginning {blob[:4].hex() or 'nowhere'}", fix="fetch the recording again",
            )  # fmt: skip
        return blob

    def read_depth(self, index: SensIndex, frame: int) -> NDArray[np.uint16]:
        """Return the depth image of a frame, (H, W) uint16 in stored units, 0 = unknown; stored may also be 65535.

        Raises:
            DatasetError: the blob can't be decompressed or has another size, or its codec isn't supported.
        """
        height, width = self.header.depth_size
        blob, wanted = self._blob(index.depth[frame]), height * width * 2
        if self.header.depth_codec == "zlib":
            try:
                blob = zlib.decompressobj().decompress(blob, wanted + 1)
            except zlib.error as error:
                raise DatasetError(
                    f"the depth image of frame {frame} is damaged: {error}", where=self.path, fix="fetch it again"
                ) from error
        if len(blob) != wanted:
            raise DatasetError(
                f"the depth image of frame {frame} has the wrong size", where=self.path,
                expected=f"{wanted} bytes for {height} x {width} pixels",
                found="more" if len(blob) > wanted else f"{len(blob)} bytes",
            )  # fmt: skip
        return known_depth(np.frombuffer(blob, "<u2").reshape(height, width).astype(np.uint16))

    def _header(self) -> SensHeader:
        version, length = struct.unpack("<IQ", self._read(0, 12, "header"))
        if version != VERSION:
            raise DatasetError(
                "not a .sens recording that can be read", where=self.path, expected=f"version {VERSION}",
                found=f"version {version}", fix="fetch the file again, or export it and use source=exported",
            )  # fmt: skip
        if length > _LONGEST_NAME:
            raise self._damaged("length of the sensor's name", f"at most {_LONGEST_NAME} bytes", length)
        name = self._read(12, length, "header")
        matrices = np.frombuffer(self._read(12 + length, 256, "header"), "<f4").reshape(4, 4, 4).astype(np.float32)
        start = 268 + length
        fields = _FIXED.unpack(self._read(start, _FIXED.size, "header"))
        colour_codec, depth_codec, colour_w, colour_h, depth_w, depth_h, shift, frames = fields
        begin = start + _FIXED.size
        if colour_codec not in COLOUR_CODECS:
            raise self._damaged("colour codec", COLOUR_CODECS, colour_codec)
        if depth_codec not in (0, 1):
            raise DatasetError(
                "this depth codec can't be read", where=self.path, expected="0 (raw) or 1 (zlib)",
                found=f"{depth_codec} ({DEPTH_CODECS.get(depth_codec, 'unknown')})",
                fix="export the recording with the official SensReader and use source=exported",
            )  # fmt: skip
        sides = (colour_w, colour_h, depth_w, depth_h)
        if not all(0 < side <= _LARGEST_SIDE for side in sides):
            raise self._damaged("image size", f"1 to {_LARGEST_SIDE} pixels", sides)
        if not (np.isfinite(shift) and shift > 0):
            raise self._damaged("depth shift", "a positive number of units per metre", shift)
        if frames * FRAME_HEADER > self.size - begin:
            raise DatasetError(
                "the recording is cut off or its header damaged", where=self.path, expected=f"{frames} frames",
                found=f"{self.size} bytes", fix="fetch the recording again",
            )  # fmt: skip
        return SensHeader(
            name.decode("utf-8", "replace"), matrices[0], matrices[2], COLOUR_CODECS[colour_codec],
            DEPTH_CODECS[depth_codec], (colour_h, colour_w), (depth_h, depth_w), float(shift), frames, begin,
        )  # fmt: skip

    def _check_poses(self, poses: NDArray[np.float32]) -> None:
        """Where the last row of a finite pose isn't (0, 0, 0, 1), the bytes are no pose: a size was wrong."""
        finite = np.isfinite(poses).all(axis=(1, 2))
        wrong = finite & (poses[:, 3] != np.array([0, 0, 0, 1], np.float32)).any(axis=1)
        if wrong.any():
            frame = int(np.argmax(wrong))
            raise self._damaged(f"pose of frame {frame}", "last row 0 0 0 1", poses[frame, 3].tolist())

    def _imu_records(self, position: int) -> int | None:
        if self.size - position < 8:
            return None
        (count,) = struct.unpack("<Q", self._read(position, 8, "IMU list"))
        return int(count) if position + 8 + count * IMU_RECORD == self.size else None

    def _blob(self, place: NDArray[np.int64]) -> bytes:
        return self._read(int(place[0]), int(place[1]), "frames")

    def _read(self, offset: int, count: int, what: str) -> bytes:
        content = os.pread(self._descriptor, count, offset)
        self.bytes_read += len(content)
        if len(content) < count:
            raise DatasetError(
                f"the recording ends within its {what}", where=self.path, expected=f"at least {offset + count} bytes",
                found=f"{self.size} bytes", fix="fetch the recording again",
            )  # fmt: skip
        return content

    def _truncated(self, frame: int, needed: int) -> DatasetError:
        return DatasetError(
            f"the recording is cut off, or damaged before frame {frame} of {self.header.frames}", where=self.path,
            expected=f"at least {needed} bytes", found=f"{self.size} bytes", fix="fetch the recording again",
        )  # fmt: skip

    def _damaged(self, what: str, expected: object, found: object) -> DatasetError:
        return DatasetError(
            f"the recording is damaged: {what}", where=self.path, expected=expected, found=found,
            fix="fetch the recording again",
        )  # fmt: skip
