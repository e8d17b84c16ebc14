"""Point clouds and camera paths in the form that the viewer of the page draws: 16 bits per coordinate, base64."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import CorruptionError

MAX_POINTS = 9000
"""Points of one cloud; more are thinned out evenly."""


class Cloud(NamedTuple):
    """`points` (N, 3) float and `colours` (N, 3) uint8 RGB."""

    points: NDArray[np.floating]
    colours: NDArray[np.uint8]


def read_ply(path: Path) -> Cloud:
    """Return a point cloud written by `probe.pictures.write_ply`.

    Raises:
        CorruptionError: the file is something else.
    """
    head, mark, body = path.read_bytes().partition(b"end_header\n")
    lines = head.decode("ascii", "replace").splitlines()
    counts = [line.split()[-1] for line in lines if line.startswith("element vertex ")]
    kinds = np.dtype([("xyz", "<f4", (3,)), ("rgb", "u1", (3,))])
    if not mark or len(counts) != 1 or not counts[0].isdigit() or len(body) != int(counts[0]) * kinds.itemsize:
        raise CorruptionError("not a point cloud of a run", where=path, fix=f"delete {path} and make it again")
    table = np.frombuffer(body, kinds)
    return Cloud(table["xyz"].astype(np.float32), table["rgb"].copy())


def bounds(points: NDArray[np.floating], centres: NDArray[np.floating]) -> tuple[list[float], float]:
    """Return the centre and radius of what a viewer should show: 98 % of the points, and all cameras.

    Args:
        points: (N, 3).
        centres: (M, 3) of cameras; N + M >= 1.
    """
    low, high = np.percentile(np.concatenate([points, centres]), (2, 98), axis=0)
    low, high = (
        np.minimum(low, centres.min(axis=0, initial=np.inf)),
        np.maximum(high, centres.max(axis=0, initial=-np.inf)),
    )
    return [round(float(x), 4) for x in (low + high) / 2], max(float(np.linalg.norm(high - low)) / 2, 1e-3)


def pack(cloud: Cloud, centre: list[float], radius: float) -> dict[str, Any]:
    """Return a cloud for the viewer.

    Points that are not finite, or farther than four radii from the centre, are left out and counted.

    Returns:
        `count`, `positions` (base64 of uint16 little-endian, x y z of each point between `low` and `high`), `colours`
        (base64 of uint8), `low`, `high`, `left_out`.
    """
    distance = np.linalg.norm(cloud.points - np.asarray(centre), axis=1)
    near = np.isfinite(distance) & (distance <= 4 * radius)
    points, colours = cloud.points[near].astype(np.float64), cloud.colours[near]
    if len(points) > MAX_POINTS:
        kept = np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(int)
        points, colours = points[kept], colours[kept]
    low = points.min(axis=0) if len(points) else np.zeros(3)
    high = points.max(axis=0) if len(points) else np.ones(3)
    scaled = (points - low) / np.maximum(high - low, 1e-9) * 65535
    return {
        "count": len(points),
        "positions": base64.b64encode(scaled.round().astype("<u2").tobytes()).decode("ascii"),
        "colours": base64.b64encode(np.ascontiguousarray(colours, np.uint8).tobytes()).decode("ascii"),
        "low": [round(float(x), 5) for x in low],
        "high": [round(float(x), 5) for x in high],
        "left_out": int((~near).sum()),
    }


def path(label: str, colour: str, world_to_camera: NDArray[np.floating]) -> dict[str, Any]:
    """Return a camera path for the viewer.

    Args:
        label: what it is.
        colour: CSS colour.
        world_to_camera: (S, 3, 4) or (S, 4, 4), OpenCV axes.

    Returns:
        `label`, `colour`, and `cameras`: per camera its right, down and forward axes and its centre, 12 numbers.
    """
    rotation, translation = world_to_camera[:, :3, :3].astype(np.float64), world_to_camera[:, :3, 3].astype(np.float64)
    centres = -np.einsum("vji,vj->vi", rotation, translation)
    rows = np.concatenate([rotation.reshape(-1, 9), centres], axis=1)
    return {"label": label, "colour": colour, "cameras": [[round(float(x), 4) for x in row] for row in rows]}


def centres(world_to_camera: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return camera centres, (S, 3), of (S, 3, 4) or (S, 4, 4) world-to-camera matrices."""
    rotation, translation = world_to_camera[:, :3, :3].astype(np.float64), world_to_camera[:, :3, 3].astype(np.float64)
    return np.asarray(-np.einsum("vji,vj->vi", rotation, translation))
