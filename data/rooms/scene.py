"""A scene as flat arrays, and the pinhole camera that looks at it.

World: right-handed, z up, metres, origin in the middle of the shell, which has six faces; oriented primitives belong to
objects. Camera: OpenCV axes (x right, y down, z forward), pixel centres at +0.5, principal point in the middle; poses
are camera-to-world.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.shapes import Part

Poses = NDArray[np.float64]
Floats = NDArray[np.float32]
SHELL_LABELS = ("wall", "wall", "wall", "wall", "floor", "ceiling")
"""Faces of the shell at +x, -x, +y, -y, -z, +z; each is one instance, the ceiling has no class."""
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera with square pixels.

    Attributes:
        height, width: pixels.
        fov: angle of view along the longer side, degrees.
    """

    height: int
    width: int
    fov: float

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return 0.5 * max(self.height, self.width) / math.tan(math.radians(self.fov) / 2)

    @property
    def matrix(self) -> NDArray[np.float32]:
        """(3, 3) camera matrix in pixels."""
        f = self.focal
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]], np.float32)

    @property
    def corner_stretch(self) -> float:
        """Length of the corner ray with z = 1: no point at distance r can have a depth below r over this."""
        return math.hypot(1.0, 0.5 * self.width / self.focal, 0.5 * self.height / self.focal)

    def rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x (width,) and y (height,) of the ray directions with z = 1 at the pixel centres."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        y = (np.arange(self.height) + 0.5 - self.height / 2) / self.focal
        return x.astype(np.float32), y.astype(np.float32)

    def scaled(self, factor: int) -> Pinhole:
        """Return the camera with `factor` times as many pixels along each axis."""
        return Pinhole(self.height * factor, self.width * factor, self.fov)

    def thumbnail(self, longest: int) -> Pinhole:
        """Return the camera with the same angle of view and `longest` pixels along its longer side."""
        share = longest / max(self.height, self.width)
        return Pinhole(max(1, round(self.height * share)), max(1, round(self.width * share)), self.fov)


def look_at(eye: Poses, target: Poses, roll: Poses) -> Poses:
    """Return camera-to-world poses that look from points to points.

    Args:
        eye, target: (T, 3) world positions; not above each other.
        roll: (T,) radians about the viewing axis.

    Returns:
        (T, 4, 4) float64.
    """
    forward = target - eye
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    poses = np.tile(np.eye(4), (len(eye), 1, 1))
    poses[:, :3, 0] = right * c + down * s
    poses[:, :3, 1] = down * c - right * s
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = eye
    return poses


def turn_degrees(poses: Poses) -> NDArray[np.float64]:
    """Return the rotation between consecutive poses, (T - 1,) degrees."""
    trace = np.einsum("tij,tij->t", poses[:-1, :3, :3], poses[1:, :3, :3])
    return np.asarray(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def between(first: Poses, second: Poses, share: float) -> Poses:
    """Return the pose a share of the way between two nearby poses, (4, 4)."""
    pose = (1 - share) * first + share * second
    u, _, vt = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = u @ vt
    return pose


@dataclass(frozen=True)
class Placed:
    """One object in its place.

    Attributes:
        label: category name.
        parts: primitives in the object's frame (z up, footprint centred on the origin, front towards +y).
        position: (3,) world position of the object's origin.
        yaw: rotation about z in radians.
        scale: factor on the parts.
        look_of: number of the object whose colours and textures it wears, usually its own.
    """

    label: str
    parts: Sequence[Part]
    position: tuple[float, float, float]
    yaw: float
    scale: float
    look_of: int


class Primitives(NamedTuple):
    """P primitives as arrays, float64 (the renderer casts once).

    `kind` (P,), `centre` (P, 3) world, `half` (P, 3), `cos` and `sin` (P,) of the yaw, `owner` (P,) object number,
    `slot` (P,) material slot of the object.
    """

    kind: NDArray[np.int64]
    centre: NDArray[np.float64]
    half: NDArray[np.float64]
    cos: NDArray[np.float64]
    sin: NDArray[np.float64]
    owner: NDArray[np.int64]
    slot: NDArray[np.int64]


@dataclass(frozen=True)
class Scene:
    """The geometry of one clip: the same for every look, light and path.

    Attributes:
        room: room type, or "tunnel".
        half: (3,) half extents of the shell in metres.
        objects: what stands, hangs or floats inside.
    """

    room: str
    half: tuple[float, float, float]
    objects: tuple[Placed, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """Category of every instance; instance id = index + 1. The six faces of the shell come first."""
        return SHELL_LABELS + tuple(item.label for item in self.objects)

    @cached_property
    def primitives(self) -> Primitives:
        """All primitives of all objects."""
        rows = [
            (part, item, number) for number, item in enumerate(self.objects) for part in item.parts
        ]  # fmt: skip
        kind = np.array([part.kind for part, _, _ in rows], np.int64)
        local = np.array([part.centre for part, _, _ in rows], np.float64).reshape(-1, 3)
        half = np.array([part.half for part, _, _ in rows], np.float64).reshape(-1, 3)
        scale = np.array([item.scale for _, item, _ in rows], np.float64)
        yaw = np.array([item.yaw for _, item, _ in rows], np.float64)
        base = np.array([item.position for _, item, _ in rows], np.float64).reshape(-1, 3)
        cos, sin = np.cos(yaw), np.sin(yaw)
        local = local * scale[:, None]
        centre = base + np.stack(
            [cos * local[:, 0] - sin * local[:, 1], sin * local[:, 0] + cos * local[:, 1], local[:, 2]], axis=1
        )
        owner = np.array([number for _, _, number in rows], np.int64)
        slot = np.array([part.slot for part, _, _ in rows], np.int64)
        return Primitives(kind, centre, half * scale[:, None], cos, sin, owner, slot)

    @cached_property
    def corners(self) -> NDArray[np.float64]:
        """(P, 8, 3) world corners of the primitives' oriented boxes."""
        p = self.primitives
        local = _CORNERS[None] * p.half[:, None]
        x = p.cos[:, None] * local[..., 0] - p.sin[:, None] * local[..., 1]
        y = p.sin[:, None] * local[..., 0] + p.cos[:, None] * local[..., 1]
        return np.stack([x, y, local[..., 2]], axis=2) + p.centre[:, None]

    def distance(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how far points are from the nearest primitive or face of the shell.

        Ellipsoids and cylinders count as their boxes, so the true distance is never smaller.

        Args:
            points: (..., 3) world positions.

        Returns:
            (...) metres; 0 inside a primitive, negative outside the shell.
        """
        shell = (np.asarray(self.half) - np.abs(points)).min(axis=-1)
        p = self.primitives
        if not len(p.kind):
            return np.asarray(shell)
        offset = points[..., None, :] - p.centre
        x = np.abs(p.cos * offset[..., 0] + p.sin * offset[..., 1]) - p.half[:, 0]
        y = np.abs(p.cos * offset[..., 1] - p.sin * offset[..., 0]) - p.half[:, 1]
        z = np.abs(offset[..., 2]) - p.half[:, 2]
        squared = np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2 + np.maximum(z, 0) ** 2
        return np.asarray(np.minimum(np.sqrt(squared.min(axis=-1)), shell))


def upside_down(scene: Scene) -> Scene:
    """Return the scene with gravity reversed: every object mirrored from the floor to the ceiling."""
    flipped = []
    for item in scene.objects:
        parts = [part.mirrored() for part in item.parts]
        x, y, z = item.position
        flipped.append(Placed(item.label, parts, (x, y, -z), item.yaw, item.scale, item.look_of))
    return Scene(scene.room, scene.half, tuple(flipped))
