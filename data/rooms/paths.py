"""Camera paths by family, and what every accepted one guarantees, checked before a single frame is rendered.

One draw of a family is accepted or drawn again. Clearance is exact: a camera at distance r from everything can see no
depth below r over the length of its corner ray. Visibility and overlap are counted on thumbnails of the query frames,
so the path doesn't depend on resolution.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.dataset.clip import QUERY_POSITIONS
from data.rooms.config import RoomsConfig
from data.rooms.render import Caster, GeometryBuffer
from data.rooms.scene import SHELL_LABELS, Pinhole, Poses, Scene, look_at, turn_degrees

Rng = np.random.Generator
Clear = Callable[[Poses], NDArray[np.bool_]]
"""Says of (N, 3) world positions whether the camera may be there."""
_POINTS = 6
THUMBNAIL = 48
"""Longer side of the frames on which visibility is counted, pixels."""
MIN_PIXELS = 4
"""An object is visible in a thumbnail that shows at least so many of its pixels (0.17 % of a square one)."""


def walk(scene: Scene, frames: int, rng: Rng, clear: Clear, *, level: bool = False) -> Poses | None:
    """Walk through free space at eye height while looking around, like a person who scans a room.

    Args:
        scene: the geometry.
        frames: number of poses.
        rng: the camera stream.
        clear: where the camera may be.
        level: stay halfway between floor and ceiling and look straight ahead on average.

    Returns:
        (T, 4, 4) camera-to-world, or None if no way was found.
    """
    w, d, h = scene.half
    low, high = (h - 0.1, h + 0.1) if level else _heights(scene, 1.25, 1.65)
    stops: list[NDArray[np.float64]] = []
    for _ in range(_POINTS):
        candidates = np.column_stack([rng.uniform(-w, w, 24), rng.uniform(-d, d, 24), -h + rng.uniform(low, high, 24)])
        usable = clear(candidates)
        if stops:
            step = candidates - stops[-1]
            length = np.linalg.norm(step[:, :2], axis=1)
            usable &= (length > 0.3) & (length < 1.3)
            between = stops[-1] + np.linspace(0, 1, 9)[:, None, None] * step
            usable &= clear(between.reshape(-1, 3)).reshape(9, -1).all(axis=0)
        if not usable.any():
            return None
        stops.append(candidates[int(np.argmax(usable))])
    t = np.linspace(0, 1, frames)
    eye = _spline(np.stack(stops), t)
    gaze = np.array([rng.uniform(-0.4, 0.4) * w, rng.uniform(-0.4, 0.4) * d]) - eye[frames // 2, :2]
    yaw = math.atan2(gaze[1], gaze[0]) + rng.uniform(-1.4, 1.4) * (t - 0.5)
    for cycles, size in ((0.9, 0.45), (2.1, 0.12)):
        yaw = yaw + size * rng.uniform(0.5, 1.2) * np.sin(2 * np.pi * (cycles * t + rng.random()))
    yaw = yaw + np.cumsum(rng.normal(0, 0.006, frames))
    pitch = (0.0 if level else rng.uniform(-0.42, -0.22)) + 0.12 * np.sin(2 * np.pi * (1.5 * t + rng.random()))
    forward = np.stack([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)], axis=1)
    return look_at(eye, eye + forward, _sway(rng, frames))


def orbit(scene: Scene, frames: int, rng: Rng, clear: Clear, *, level: bool = False) -> Poses | None:
    """Go part of an ellipse round the middle of the room, looking inwards at a drifting target."""
    w, d, h = scene.half
    low, high = (h - 0.15, h + 0.15) if level else _heights(scene, 1.2, 1.8)
    t = np.linspace(0, 1, frames)
    start, sweep = rng.uniform(0, 2 * math.pi), rng.uniform(2.0, 4.5) * rng.choice([-1.0, 1.0])
    angle = start + t * sweep
    size = rng.uniform(0.45, 0.85)
    height = (low + high) / 2 + (high - low) / 2 * np.sin(3 * t + start)
    eye = np.stack([size * w * np.cos(angle), size * d * np.sin(angle), -h + height], axis=1)
    drift = rng.uniform(0.1, 0.3)
    aim = np.stack(
        [drift * np.sin(2 * angle), drift * np.cos(angle), np.full(frames, 0.0 if level else 0.65 - h)], axis=1
    )
    return look_at(eye, aim, _sway(rng, frames))


def tunnel(scene: Scene, frames: int, rng: Rng) -> Poses:
    """Move along the axis of a tunnel with a little sway, looking down its length."""
    depth = scene.half[1]
    t = np.linspace(0, 1, frames)
    phase = rng.random()
    eye = np.stack(
        [
            0.12 * np.sin(2 * np.pi * (t + phase)),
            -depth + 0.6 + rng.uniform(0.6, 0.85) * t,
            0.08 * np.cos(2 * np.pi * (t + phase)),
        ],
        axis=1,
    )
    return look_at(eye, np.tile([0.0, depth, 0.0], (frames, 1)), _sway(rng, frames))


def standing(path: Poses) -> Poses:
    """Return the path's first pose for all frames: no motion, no parallax."""
    return np.repeat(path[:1], len(path), axis=0)


def _heights(scene: Scene, low: float, high: float) -> tuple[float, float]:
    """Return the range of eye heights above the floor, kept below the ceiling."""
    ceiling = 2 * scene.half[2] - 0.45
    return min(low, ceiling - 0.1), min(high, ceiling)


def _sway(rng: Rng, frames: int) -> NDArray[np.float64]:
    return np.cumsum(rng.normal(0, 0.0015, frames))


def _spline(points: Poses, t: NDArray[np.float64]) -> Poses:
    """Return a Catmull-Rom curve through points, with the ends repeated, at t in [0, 1]."""
    padded = np.concatenate([points[:1], points, points[-1:]])
    at = t * (len(points) - 1)
    i = np.minimum(at.astype(int), len(points) - 2)
    f = (at - i)[:, None]
    p0, p1, p2, p3 = padded[i], padded[i + 1], padded[i + 2], padded[i + 3]
    return np.asarray(
        0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * p1 - p0 - 3 * p2 + p3) * f**3)
    )


@dataclass(frozen=True)
class Findings:
    """What was measured on one path.

    Attributes:
        clearance: least distance of the camera from any primitive or face, metres.
        turn: median rotation between frames, degrees.
        visible: objects seen in at least two query frames.
        overlap: share of the first query frame's pixels whose surface points are seen again in the last one.
    """

    clearance: float
    turn: float
    visible: int
    overlap: float


def required_clearance(config: RoomsConfig, camera: Pinhole) -> float:
    """Return the distance in metres that keeps primitives `clearance` and depths `min_depth` away."""
    return max(config.clearance, config.min_depth * camera.corner_stretch + 1e-4)


def query_positions(frames: int) -> list[int]:
    """Return the query positions that a clip of so many frames has."""
    return [position for position in QUERY_POSITIONS if position < frames]


def measure(scenes: list[Scene], camera: Pinhole, path: Poses) -> Findings:
    """Measure one path; with several scenes (a room and its mirror image) the worst of each.

    Args:
        scenes: geometries that the same path must suit.
        camera: the full-size camera.
        path: (T, 4, 4) camera-to-world.
    """
    eyes = path[:, :3, 3]
    clearance = min(float(scene.distance(eyes).min()) for scene in scenes)
    turn = float(np.median(turn_degrees(path)))
    visible, overlap = [], []
    for scene in scenes:
        caster = Caster(scene, camera.thumbnail(THUMBNAIL))
        query = query_positions(len(path))
        buffers = {position: caster.cast(path[position]) for position in query}
        seen = np.zeros(len(scene.labels) + 1, int)
        for buffer in buffers.values():
            seen += np.bincount(caster.instance(buffer).ravel(), minlength=len(seen)) >= MIN_PIXELS
        visible.append(int((seen[len(SHELL_LABELS) + 1 :] >= 2).sum()))
        overlap.append(seen_again(caster, buffers[query[0]], buffers[query[-1]], path[query[-1]]))
    return Findings(clearance, turn, min(visible), min(overlap))


def seen_again(caster: Caster, first: GeometryBuffer, last: GeometryBuffer, pose: NDArray[np.float64]) -> float:
    """Return the share of one frame's pixels whose surface points are visible in another frame.

    Args:
        caster: gives the camera.
        first, last: geometry of the two frames.
        pose: (4, 4) camera-to-world of the second one.
    """
    points = np.stack([plane.ravel() for plane in first.points()], axis=1).astype(np.float64)
    local = (points - pose[:3, 3]) @ pose[:3, :3]
    height, width = last.depth.shape
    z = np.maximum(local[:, 2], 1e-6)
    column = np.floor(local[:, 0] / z * caster.camera.focal + width / 2)
    row = np.floor(local[:, 1] / z * caster.camera.focal + height / 2)
    inside = (local[:, 2] > 0) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    there = last.depth[row[inside].astype(int), column[inside].astype(int)]
    agree = np.abs(there - local[inside, 2]) < 0.05 * local[inside, 2]
    return float(agree.sum() / len(points))


def problems(config: RoomsConfig, camera: Pinhole, found: Findings, objects: int) -> list[str]:
    """Return which invariants a path breaks, one short text each; empty when it is acceptable.

    Args:
        config: the limits.
        camera: the full-size camera.
        found: what `measure` returned.
        objects: how many objects the scene has at all.
    """
    broken = []
    needed = required_clearance(config, camera)
    if found.clearance < needed:
        broken.append(f"clearance {found.clearance:.3f} m below {needed:.3f} m")
    if found.turn >= config.max_turn:
        broken.append(f"median turn {found.turn:.2f} deg not below {config.max_turn:g} deg")
    if found.visible < min(config.min_visible, objects):
        broken.append(f"{found.visible} objects visible, {min(config.min_visible, objects)} wanted")
    if found.overlap < config.min_overlap:
        broken.append(f"overlap {found.overlap:.3f} below {config.min_overlap:g}")
    return broken
