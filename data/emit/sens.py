"""Writes `.sens` recordings, version 4; the layout is described in `data.scannet.sens`."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FRAME_TIME_US = 33_333
"""Microseconds between frames at 30 Hz."""


def write_sens(
    path: Path,
    colour: Sequence[bytes],
    depth: Sequence[bytes],
    cam2world: NDArray[np.float32],
    intrinsics: NDArray[np.float32],
    colour_size: tuple[int, int],
    depth_size: tuple[int, int],
    *,
    imu_tail: bool = True,
) -> None:
    """Write a recording with JPEG colour and zlib depth in millimetres.

    Args:
        path: the file.
        colour: N JPEG images.
        depth: N depth images of `pack_depth`.
        cam2world: (N, 4, 4) float32 poses, written as they are.
        intrinsics: (3, 3) camera matrix, in pixels of the colour image; the depth camera gets it scaled to its size.
        colour_size, depth_size: (height, width) of the images.
        imu_tail: write the (empty) list of IMU records; some files in circulation lack it.
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
        if imu_tail:
            file.write(struct.pack("<Q", 0))


def pack_depth(depth: NDArray[np.uint16]) -> bytes:
    """Return a depth image, (H, W) uint16 millimetres with 0 = unknown, as it is stored."""
    return zlib.compress(np.ascontiguousarray(depth, "<u2").tobytes())


def homogeneous(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a (3, 3) camera matrix as (4, 4), as ScanNet stores it."""
    result = np.eye(4, dtype=np.float32)
    result[:3, :3] = matrix
    return result
