"""What every accepted camera path guarantees, and how it is checked before a single frame is rendered.

Clearance is exact: a camera at distance r from everything can see no depth below r over the length of its corner
ray. Visibility and overlap are counted on thumbnails of the query frames, so the path doesn't depend on resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.dataset.clip import QUERY_POSITIONS
from data.rooms.camera import Pinhole, Poses, turn_degrees
from data.rooms.config import RoomsConfig
from data.rooms.render import Caster, GeometryBuffer
from data.rooms.scene import SHELL_LABELS, Scene

THUMBNAIL = 48
"""Longer side of the frames on which visibility is counted, pixels."""
MIN_PIXELS = 4
"""An object is visible in a thumbnail that shows at least so many of its pixels (0.17 % of a square one)."""


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
