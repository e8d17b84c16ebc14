"""The frames of a `.sens` recording."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.scannet.frames import Size
from data.scannet.sens import SensFile


class SensFrames(SensFile):
    """A `.sens` recording as `Frames`: indexed when opened, blobs read on request.

    Raises:
        DatasetError: the recording is damaged.
    """

    kind = "sens"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.index = self.read_index()
        except BaseException:
            self.close()
            raise
        self.numbers: NDArray[np.int64] = np.arange(self.header.frames, dtype=np.int64)
        self.depths = True
        self.notes = [] if self.index.imu_records is not None else ["the list of IMU records in the .sens is missing"]

    def colour(self, rank: int) -> bytes:
        """Return the colour image as stored; raw pixels as PNG."""
        blob = self.read_colour(self.index, rank)
        if self.header.colour_codec != "raw":
            return blob
        height, width = self.header.colour_size
        if len(blob) != height * width * 3:
            raise DatasetError(
                "a colour image has the wrong size", where=self.where(rank), expected=f"{height * width * 3} bytes",
                found=f"{len(blob)} bytes",
            )  # fmt: skip
        return _png(np.frombuffer(blob, np.uint8).reshape(height, width, 3))

    def colour_size(self, sample: bytes) -> Size:
        """Return the (height, width) in the header."""
        return self.header.colour_size

    def depth(self, rank: int) -> NDArray[np.float32]:
        """Return the depth image in metres, (h, w), 0 = unknown."""
        return (self.read_depth(self.index, rank) / np.float32(self.header.depth_shift)).astype(np.float32)

    def pose(self, rank: int) -> NDArray[np.float32]:
        """Return the (4, 4) camera-to-world matrix as stored."""
        return np.array(self.index.poses[rank])

    def camera(self, which: str) -> NDArray[np.float64]:
        """Return the (4, 4) camera matrix of the "color" or "depth" images."""
        stored = self.header.intrinsic_colour if which == "color" else self.header.intrinsic_depth
        return stored.astype(np.float64)

    def where(self, rank: int) -> str:
        """Return what to call a frame in messages."""
        return f"{self.path}, frame {rank}"


def _png(pixels: NDArray[np.uint8]) -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
