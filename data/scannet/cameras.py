"""Camera matrices of a scan: read, moved to our pixel convention, scaled, and used to lay depth over colour."""

from __future__ import annotations

from os import PathLike

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError

Size = tuple[int, int]
Matrix = NDArray[np.float64]
_ROUNDING = 1e-6
"""Pixels; keeps centres that fall on an edge from changing sides by rounding."""


def parse_matrix(content: bytes, where: str | PathLike[str]) -> Matrix:
    """Return a 4x4 matrix from text as the exporter writes it; -inf and NaN are kept.

    Raises:
        DatasetError: not four lines of four numbers.
    """
    try:
        rows = [[float(word) for word in line.split()] for line in content.decode("ascii").splitlines() if line.strip()]
        matrix = np.array(rows, np.float64)
    except ValueError as error:  # UnicodeDecodeError and ragged rows are ValueErrors
        raise DatasetError(
            f"not a matrix: {error}", expected="four lines of four numbers", where=where, fix="export it again"
        ) from error
    if matrix.shape != (4, 4):
        raise DatasetError(
            "not a matrix of the right size", expected="four lines of four numbers", found=f"shape {matrix.shape}",
            where=where, fix="export it again",
        )  # fmt: skip
    return matrix


def camera_matrix(stored: NDArray[np.floating], where: str | PathLike[str], *, from_centres: bool) -> Matrix:
    """Return the (3, 3) camera matrix of a stored (4, 4) one, with the principal point counted from the corner.

    Args:
        stored: as in the recording.
        where: for messages.
        from_centres: the stored principal point counts from the middle of the first pixel.

    Raises:
        DatasetError: not a camera matrix.
    """
    matrix = np.array(stored[:3, :3], np.float64)
    if not (np.isfinite(matrix).all() and matrix[0, 0] > 0 and matrix[1, 1] > 0):
        raise DatasetError("not a camera matrix", expected="fx, fy > 0", found=matrix.tolist(), where=where)
    if from_centres:
        matrix[:2, 2] += 0.5
    return matrix


def check_centre(matrix: Matrix, size: Size, what: str, where: str | PathLike[str]) -> None:
    """Refuse a camera matrix that belongs to larger images than those that are there, shrunk when they were exported.

    Args:
        matrix: (3, 3), in pixels.
        size: (height, width) of the images.
        what: "colour" or "depth".
        where: for messages.

    Raises:
        DatasetError: the principal point lies outside the images.
    """
    x, y = matrix[0, 2], matrix[1, 2]
    if not (0 < x < size[1] and 0 < y < size[0]):
        raise DatasetError(
            f"the camera matrix of the {what} images is for images of another size", where=where,
            expected=f"a principal point within {size[1]}x{size[0]}", found=f"({x:.1f}, {y:.1f})",
            fix="export the images at their own size, or scale the rows of the matrix as the images were",
        )  # fmt: skip


def scaled(matrix: Matrix, old: Size, new: Size) -> Matrix:
    """Return a camera matrix for images of another size; pixels are counted from the corner, so it is a pure scale.

    Args:
        matrix: (3, 3), in pixels of `old`.
        old, new: (height, width).
    """
    return np.asarray(np.diag([new[1] / old[1], new[0] / old[0], 1.0]) @ matrix)


def register(depth: NDArray[np.float32], depth_camera: Matrix, camera: Matrix, size: Size) -> NDArray[np.float32]:
    """Return depth as another camera at the same place sees it: each pixel takes the nearest ray's value.

    The transform between ScanNet's two cameras is ignored, as it is where its poses are used.

    Args:
        depth: (h, w), 0 = unknown.
        depth_camera: its (3, 3) camera matrix.
        camera: (3, 3) matrix of the camera wanted.
        size: (height, width) wanted.

    Returns:
        (height, width) float32; 0 where the depth camera doesn't look.
    """
    columns = _nearest(size[1], camera[0, 0], camera[0, 2], depth_camera[0, 0], depth_camera[0, 2])
    rows = _nearest(size[0], camera[1, 1], camera[1, 2], depth_camera[1, 1], depth_camera[1, 2])
    inside = np.ix_((rows >= 0) & (rows < depth.shape[0]), (columns >= 0) & (columns < depth.shape[1]))
    result = np.zeros(size, np.float32)
    result[inside] = depth[rows[inside[0].ravel()][:, None], columns[inside[1].ravel()][None]]
    return result


def _nearest(count: int, focal: float, centre: float, other_focal: float, other_centre: float) -> NDArray[np.int64]:
    """Pixel of the other camera, along one axis, that the ray through each pixel centre meets."""
    ray = (np.arange(count) + 0.5 - centre) / focal
    return np.asarray(np.floor(ray * other_focal + other_centre + _ROUNDING), np.int64)
