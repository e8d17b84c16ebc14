"""What each task learns from: labels of sampled queries, sampled pixels with their ids, geometry as query 0 sees it.

Pure functions on arrays; `data.dataset.samples` feeds them from a prepared dataset.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.raw.images import nearest

MIN_PIXELS = 200
"""Pixels of a class, summed over the sampled queries, that make it present (protocol, data 3.3)..."""
REFERENCE_PIXELS = 540 * 720
"""...counted on maps of 540 x 720; other sizes scale the threshold by their pixel count."""
SCALE_LIMITS = (1e-3, 1e4)
"""Mean distance of query 0's points outside these limits makes a clip unusable for geometry (protocol, data 9.3)."""


def pixel_threshold(gt_size: tuple[int, int], min_pixels: float = MIN_PIXELS) -> float:
    """Return the pixel count at or above which a class is present, for maps of `gt_size` (height, width)."""
    return min_pixels * gt_size[0] * gt_size[1] / REFERENCE_PIXELS


def tag_labels(
    class_pixels: NDArray[np.int32], gt_size: tuple[int, int], min_pixels: float = MIN_PIXELS, min_queries: int = 1
) -> NDArray[np.float32]:
    """Return which classes are present in the sampled queries.

    Args:
        class_pixels: (S, C) pixels of each class in each sampled query, counted at `gt_size`.
        gt_size: (height, width) of the maps.
        min_pixels: threshold at 540 x 720, scaled to `gt_size`.
        min_queries: queries in which the class must appear at all.

    Returns:
        (C,) float32 of 0 and 1 (protocol, data 3.3: y = 1 iff total >= 200 and queries >= 1).
    """
    total = class_pixels.astype(np.int64).sum(axis=0)
    seen = (class_pixels > 0).sum(axis=0)
    present: NDArray[np.bool_] = (total >= pixel_threshold(gt_size, min_pixels)) & (seen >= min_queries)
    return present.astype(np.float32)


@dataclass(frozen=True)
class PixelSet:
    """Sampled annotated pixels of one clip.

    Attributes:
        coordinates: (P, 3) int64: query, row, column.
        ids: (P,) int64 instance ids; 0 only where `valid` is False.
        valid: (P,) bool; all False when the queries hold no annotated pixel.
    """

    coordinates: NDArray[np.int64]
    ids: NDArray[np.int64]
    valid: NDArray[np.bool_]


def sample_pixels(
    maps: NDArray[np.uint16], count: int, rng: np.random.Generator, *, balanced: bool = False
) -> PixelSet:
    """Draw pixels that carry an instance id from all queries together.

    Args:
        maps: (S, H, W) instance ids, 0 = none.
        count: pixels to draw; without replacement if there are enough, else with (protocol, probe 4.4).
        rng: generator of this (seed, epoch, clip).
        balanced: every instance gets the same expected share, instead of every pixel.
    """
    flat = maps.ravel()
    annotated = np.flatnonzero(flat)
    if annotated.size == 0:
        return PixelSet(np.zeros((count, 3), np.int64), np.zeros(count, np.int64), np.zeros(count, np.bool_))
    if balanced:
        _, inverse, sizes = np.unique(flat[annotated], return_inverse=True, return_counts=True)
        weights = 1.0 / sizes[inverse]
        chosen = rng.choice(annotated, count, replace=True, p=weights / weights.sum())
    else:
        chosen = rng.choice(annotated, count, replace=annotated.size < count, shuffle=False)
    coordinates = np.stack(np.unravel_index(chosen, maps.shape), axis=1).astype(np.int64)
    return PixelSet(coordinates, flat[chosen].astype(np.int64), np.ones(count, np.bool_))


@dataclass(frozen=True)
class Geometry:
    """Geometry of S queries in the frame of query 0, in units of the mean distance of query 0's points.

    Attributes:
        depth: (S, h, w) float32, 0 = unknown.
        points: (S, h, w, 3) float32 in the camera frame of query 0, 0 where unknown.
        confidence: (S, h, w) float32 in [0, 1], 0 where unknown.
        world2cam: (S, 4, 4) float32; query 0 is the identity.
        intrinsics: (S, 3, 3) float32 in pixels of (h, w).
        scale: factor that turns the dataset's units into these; 1 where `usable` is False.
        usable: False if a pose is invalid, query 0 has no depth, or its scale is out of limits.
        reason: why not usable, else "".
    """

    depth: NDArray[np.float32]
    points: NDArray[np.float32]
    confidence: NDArray[np.float32]
    world2cam: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    scale: float
    usable: bool
    reason: str


def geometry_targets(
    depth: NDArray[np.float32],
    intrinsics: NDArray[np.float32],
    cam2world: NDArray[np.float32],
    pose_valid: NDArray[np.bool_],
    confidence: NDArray[np.float16] | None = None,
    size: tuple[int, int] | None = None,
) -> Geometry:
    """Re-base poses to query 0, unproject depth and scale everything (protocol, data 9.3; metrics 3.1).

    E_i <- E_i E_0^-1; points move to camera 0; lengths are divided by the mean distance of query 0's known points.
    A smaller `size` takes, for each target pixel, the source pixel under its centre; its exact ray is kept.

    Args:
        depth: (S, H, W) z depth, 0 = unknown.
        intrinsics: (S, 3, 3) in pixels of (H, W).
        cam2world: (S, 4, 4); values of invalid poses are ignored.
        pose_valid: (S,).
        confidence: (S, H, W) in [0, 1]; None = 1 where depth is known.
        size: (h, w) of the result, at most (H, W); default (H, W).
    """
    queries, full_h, full_w = depth.shape
    height, width = size or (full_h, full_w)
    if not (0 < height <= full_h and 0 < width <= full_w):
        raise ValueError(f"size {size} must be positive and at most {(full_h, full_w)}")
    rows, columns = nearest(full_h, height), nearest(full_w, width)
    z = depth[:, rows[:, None], columns[None]].astype(np.float64)
    known = z > 0
    conf = known.astype(np.float32)
    if confidence is not None:
        conf *= confidence[:, rows[:, None], columns[None]].astype(np.float32)
    scaled = intrinsics.astype(np.float64).copy()
    scaled[:, 0] *= width / full_w
    scaled[:, 1] *= height / full_h

    def unusable(reason: str) -> Geometry:
        return Geometry(
            np.zeros(z.shape, np.float32),
            np.zeros((*z.shape, 3), np.float32),
            np.zeros_like(conf),
            np.tile(np.eye(4, dtype=np.float32), (queries, 1, 1)),
            scaled.astype(np.float32),
            1.0,
            False,
            reason,
        )

    if not pose_valid.all():
        return unusable(f"invalid pose of query {int(np.flatnonzero(~pose_valid)[0])}")
    if not known[0].any():
        return unusable("query 0 has no known depth")
    poses = cam2world.astype(np.float64)
    relative = np.linalg.inv(poses[0]) @ poses  # camera i to camera 0
    planes = _unproject(z, intrinsics.astype(np.float64), relative, rows, columns)
    squared = sum(plane[0][known[0]] ** 2 for plane in planes)
    mean = float(np.sqrt(squared).mean())
    if not SCALE_LIMITS[0] <= mean <= SCALE_LIMITS[1]:
        return unusable(f"mean distance {mean:g} of query 0 is outside {SCALE_LIMITS}")
    points, share = np.empty((*z.shape, 3), np.float32), known / mean
    for axis, plane in enumerate(planes):
        points[..., axis] = plane * share
    world2cam = np.linalg.inv(relative)
    world2cam[0] = np.eye(4)
    world2cam[:, :3, 3] /= mean
    return Geometry(
        (z / mean).astype(np.float32),
        points,
        conf,
        world2cam.astype(np.float32),
        scaled.astype(np.float32),
        1.0 / mean,
        True,
        "",
    )


def _unproject(
    z: NDArray[np.float64],
    intrinsics: NDArray[np.float64],
    to_first: NDArray[np.float64],
    rows: NDArray[np.int64],
    columns: NDArray[np.int64],
) -> list[NDArray[np.float64]]:
    """Return x, y and z, each (S, h, w), of the pixel centres (column + 0.5, row + 0.5) in the frame of camera 0.

    A ray is a sum of what its column and what its row say, so no pixel needs a matrix product of its own.
    """
    per_pixel = to_first[:, :3, :3] @ np.linalg.inv(intrinsics)
    down = per_pixel[:, :, 1, None] * (rows + 0.5) + per_pixel[:, :, 2, None]
    across = per_pixel[:, :, 0, None] * (columns + 0.5)
    return [
        z * (down[:, axis, :, None] + across[:, axis, None, :]) + to_first[:, axis, 3, None, None] for axis in range(3)
    ]
