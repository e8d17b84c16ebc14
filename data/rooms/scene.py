"""A scene as flat arrays: oriented primitives that belong to objects, inside a shell of six faces.

World: right-handed, z up, metres, origin in the middle of the shell.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.shapes import Part

Floats = NDArray[np.float32]
SHELL_LABELS = ("wall", "wall", "wall", "wall", "floor", "ceiling")
"""Faces of the shell at +x, -x, +y, -y, -z, +z; each is one instance, the ceiling has no class."""
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


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
