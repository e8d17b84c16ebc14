"""Exact ray casting with numpy: depth and instance per pixel, then colour where it is wanted.

Geometry goes primitive by primitive, front to back, over the pixel rectangle that each one can cover; colour is
computed afterwards for all pixels at once (`data.rooms.shading`). The ray parameter of a hit is its depth.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.camera import Pinhole
from data.rooms.intersect import intersect
from data.rooms.scene import SHELL_LABELS, Scene

Plane = NDArray[np.float32]
NEAR = 0.05
"""Metres; nothing nearer to the image plane is hit."""


class GeometryBuffer(NamedTuple):
    """What the rays of one frame hit.

    Attributes:
        depth: (H, W) float32 metres along the viewing axis.
        surface: (H, W) int32; 0..5 a face of the shell, 6 + p a primitive.
        rays: three (H, W) float32 planes, world ray directions whose z in the camera frame is 1.
        origin: (3,) float32 camera position.
    """

    depth: Plane
    surface: NDArray[np.int32]
    rays: tuple[Plane, Plane, Plane]
    origin: NDArray[np.float32]

    def points(self) -> tuple[Plane, Plane, Plane]:
        """Return the world coordinates of the hits as three (H, W) planes."""
        x, y, z = (self.rays[axis] * self.depth + self.origin[axis] for axis in range(3))
        return x, y, z


class Caster:
    """Casts the rays of one camera into one scene; frames share what doesn't move."""

    def __init__(self, scene: Scene, camera: Pinhole) -> None:
        self.scene = scene
        self.camera = camera
        self._x, self._y = camera.rays()
        p = scene.primitives
        self._half = [tuple(row) for row in p.half.tolist()]
        self._cos, self._sin, self._kind = p.cos.tolist(), p.sin.tolist(), p.kind.tolist()
        owner = np.arange(1, len(SHELL_LABELS) + 1).tolist() + (p.owner + len(SHELL_LABELS) + 1).tolist()
        self._instance = np.array(owner, np.uint16)

    def instance(self, buffer: GeometryBuffer) -> NDArray[np.uint16]:
        """Return the instance id of every pixel, (H, W); 1..6 are the faces of the shell."""
        return self._instance[buffer.surface]

    def cast(self, pose: NDArray[np.float64]) -> GeometryBuffer:
        """Render the geometry seen from one camera-to-world pose, (4, 4)."""
        rotation = pose[:3, :3].astype(np.float32)
        origin = pose[:3, 3].astype(np.float32)
        rays = tuple(
            (rotation[k, 0] * self._x)[None, :] + (rotation[k, 1] * self._y + rotation[k, 2])[:, None] for k in range(3)
        )
        x, y, z = rays
        depth, surface = self._shell(origin, rays)
        self._primitives(pose, depth, surface, (x, y, z))
        return GeometryBuffer(depth, surface, (x, y, z), origin)

    def _shell(self, origin: NDArray[np.float32], rays: tuple[Plane, ...]) -> tuple[Plane, NDArray[np.int32]]:
        """Leave the room: the nearest of the three faces that each ray heads for."""
        exits, faces = [], []
        for axis, (plus, minus) in enumerate(((0, 1), (2, 3), (5, 4))):
            half, start = np.float32(self.scene.half[axis]), origin[axis]
            ahead = rays[axis] > 0
            wall = np.where(ahead, half - start, -half - start)
            exits.append(wall / np.where(rays[axis] == 0, np.float32(1e-20), rays[axis]))
            faces.append(np.where(ahead, np.int32(plus), np.int32(minus)))
        depth, surface = np.abs(exits[0]), faces[0]
        for axis in (1, 2):
            distance = np.abs(exits[axis])
            nearer = distance < depth
            np.copyto(depth, distance, where=nearer)
            np.copyto(surface, faces[axis], where=nearer)
        return depth, surface

    def _primitives(
        self, pose: NDArray[np.float64], depth: Plane, surface: NDArray[np.int32], rays: tuple[Plane, Plane, Plane]
    ) -> None:
        p, (height, width) = self.scene.primitives, depth.shape
        if not len(p.kind):
            return
        eye = pose[:3, 3]
        seen = (self.scene.corners - eye) @ pose[:3, :3]
        nearest, farthest = seen[..., 2].min(axis=1), seen[..., 2].max(axis=1)
        cut = nearest <= NEAR  # reaches behind the camera: the projection of its corners says nothing
        divisor = np.where(cut[:, None], 1.0, seen[..., 2])
        f = self.camera.focal
        u, v = seen[..., 0] / divisor * f + width / 2, seen[..., 1] / divisor * f + height / 2
        left = np.where(cut, 0, np.clip(np.floor(u.min(axis=1)) - 1, 0, width)).astype(int)
        right = np.where(cut, width, np.clip(np.ceil(u.max(axis=1)) + 1, 0, width)).astype(int)
        top = np.where(cut, 0, np.clip(np.floor(v.min(axis=1)) - 1, 0, height)).astype(int)
        bottom = np.where(cut, height, np.clip(np.ceil(v.max(axis=1)) + 1, 0, height)).astype(int)
        offset = eye - p.centre
        local = np.stack(
            [p.cos * offset[:, 0] + p.sin * offset[:, 1], p.cos * offset[:, 1] - p.sin * offset[:, 0], offset[:, 2]],
            axis=1,
        ).tolist()
        order = np.argsort(nearest, kind="stable")
        order = order[((farthest > NEAR) & (left < right) & (top < bottom))[order]]
        x, y, z = rays
        for i in order.tolist():
            window = (slice(top[i], bottom[i]), slice(left[i], right[i]))
            behind = depth[window]
            if behind.max() < nearest[i]:
                continue
            c, s = np.float32(self._cos[i]), np.float32(self._sin[i])
            wx, wy = x[window], y[window]
            hit = intersect(self._kind[i], self._half[i], local[i], wx * c + wy * s, wy * c - wx * s, z[window], NEAR)
            nearer = hit < behind
            np.copyto(behind, hit, where=nearer)
            np.copyto(surface[window], np.int32(i + len(SHELL_LABELS)), where=nearer)
