"""Colour of what the rays hit: normals, planar textures with mip levels, two lamps, gamma.

Everything is computed for all pixels of a frame at once, on flat planes; per-surface values are gathered by the
surface number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.camera import Pinhole
from data.rooms.lights import Lights
from data.rooms.materials import Look
from data.rooms.render import GeometryBuffer
from data.rooms.scene import SHELL_LABELS, Scene
from data.rooms.shapes import BOX, CYLINDER, ELLIPSOID
from data.rooms.textures import atlas

Plane = NDArray[np.float32]
_SHELL = 3
_FACES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
"""Normals of the shell's faces, into the room."""
_LEVELS = 4096
_GAMMA = ((np.arange(_LEVELS) / (_LEVELS - 1)) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


class Surfaces(NamedTuple):
    """Normals and texture coordinates of all pixels, flat (N,) planes.

    `normal` are three world coordinates of the unit normal; `u`, `v` metres on the surface's dominant plane.
    """

    normal: tuple[Plane, Plane, Plane]
    u: Plane
    v: Plane


class Shader:
    """Colours the frames of one scene with one look and one set of lights."""

    def __init__(self, scene: Scene, camera: Pinhole, look: Look, lights: Lights) -> None:
        p, shell = scene.primitives, len(SHELL_LABELS)
        self._focal, self._look, self._lights = np.float32(camera.focal), look, lights
        f32 = np.float32
        self._kind = np.concatenate([np.full(shell, _SHELL), p.kind]).astype(np.int8)
        self._centre = np.concatenate([np.zeros((shell, 3)), p.centre]).astype(f32).T.copy()
        self._inverse_half = (1 / np.concatenate([np.ones((shell, 3)), p.half])).astype(f32).T.copy()
        self._cos = np.concatenate([np.ones(shell), p.cos]).astype(f32)
        self._sin = np.concatenate([np.zeros(shell), p.sin]).astype(f32)
        self._first = look.colour[:, 0].T.copy()
        self._step = ((look.colour[:, 1] - look.colour[:, 0]) * f32(look.contrast)).T.copy()

    def surfaces(self, buffer: GeometryBuffer) -> Surfaces:
        """Return normals and texture coordinates of a frame's hits."""
        which = buffer.surface.ravel()
        world = [plane.ravel() for plane in buffer.points()]
        dx, dy, lz = (world[k] - self._centre[k][which] for k in range(3))
        c, s = self._cos[which], self._sin[which]
        lx, ly = c * dx + s * dy, c * dy - s * dx
        nx, ny, nz = self._local_normals(which, (lx, ly, lz))
        ax, ay, az = np.abs(nx), np.abs(ny), np.abs(nz)
        along_x = (ax >= ay) & (ax >= az)
        along_z = (az > ay) & ~along_x
        u, v = np.where(along_x, ly, lx), np.where(along_z, ly, lz)
        return Surfaces((c * nx - s * ny, s * nx + c * ny, nz), u, v)

    def normals(self, buffer: GeometryBuffer) -> Plane:
        """Return the world unit normals of a frame, (H, W, 3)."""
        return np.stack(self.surfaces(buffer).normal, axis=-1).reshape(*buffer.depth.shape, 3)

    def _local_normals(self, which: NDArray[np.int32], local: tuple[Plane, Plane, Plane]) -> tuple[Plane, Plane, Plane]:
        """Return unit normals in the primitives' frames."""
        kind = self._kind[which]
        normal = np.zeros((3, len(which)), np.float32)
        at = np.flatnonzero(kind == _SHELL)
        normal[:, at] = _FACES[which[at]].T
        for shape in (BOX, ELLIPSOID, CYLINDER):
            at = np.flatnonzero(kind == shape)
            if not len(at):
                continue
            inverse = [self._inverse_half[k][which[at]] for k in range(3)]
            q = [local[k][at] * inverse[k] for k in range(3)]
            if shape == BOX:
                size = np.abs(np.stack(q))
                face = size.argmax(axis=0)
                normal[face, at] = np.sign(np.choose(face, q))
                continue
            n = np.stack([q[k] * inverse[k] for k in range(3)])
            if shape == CYLINDER:
                cap = np.abs(q[2]) >= np.sqrt(q[0] * q[0] + q[1] * q[1])
                n[:2, cap] = 0
                n[2] = np.where(cap, np.sign(q[2]), 0)
            normal[:, at] = n / np.sqrt((n * n).sum(axis=0) + np.float32(1e-12))
        return normal[0], normal[1], normal[2]

    def colour(self, buffer: GeometryBuffer) -> NDArray[np.uint8]:
        """Return the image of a frame, (H, W, 3) uint8 RGB."""
        found = self.surfaces(buffer)
        which = buffer.surface.ravel()
        albedo = self._first[:, which]
        if self._look.contrast > 0:
            albedo += self._step[:, which] * self._texels(buffer, found, which)
        albedo *= self._irradiance(buffer, found)
        np.minimum(albedo, 1, out=albedo)
        albedo *= _LEVELS - 1
        return np.ascontiguousarray(_GAMMA[albedo.astype(np.int16)].T).reshape(*buffer.depth.shape, 3)

    def _texels(self, buffer: GeometryBuffer, found: Surfaces, which: NDArray[np.int32]) -> Plane:
        """Look the patterns up at the mip level whose texels are as large as the pixel's footprint."""
        texture = atlas()
        scale = self._look.scale[which]
        rays = [plane.ravel() for plane in buffer.rays]
        facing = np.abs(sum(n * r for n, r in zip(found.normal, rays, strict=True)))
        length = np.sqrt(rays[0] * rays[0] + rays[1] * rays[1] + rays[2] * rays[2])
        # A slanted surface shows more metres per pixel; half of the stretch is taken, between blur and shimmer.
        slant = np.sqrt(length / np.maximum(facing, np.float32(0.05) * length))
        footprint = buffer.depth.ravel() * scale * slant * np.float32(texture.size[0] / self._focal)
        level = np.log2(np.maximum(footprint, 1)) + np.float32(0.3)
        level = np.minimum(level, len(texture.size) - 1).astype(np.int8)
        size = texture.size[level]
        column, row = found.u * scale, found.v * scale
        column -= np.floor(column)
        row -= np.floor(row)
        x = np.minimum((column * size).astype(np.int32), size - 1)
        y = np.minimum((row * size).astype(np.int32), size - 1)
        texel = texture.offset[level] + (self._look.pattern[which] * size + y) * size + x
        return np.asarray(texture.texels[texel])

    def _irradiance(self, buffer: GeometryBuffer, found: Surfaces) -> Plane:
        """Sum the ambient term, a little stronger from above, and the lamps with distance fall-off."""
        nx, ny, nz = found.normal
        total = np.float32(self._lights.ambient) * (1 + np.float32(0.2) * nz)
        px, py, pz = (plane.ravel() for plane in buffer.points())
        for light in self._lights.points:
            lx, ly, lz = (np.float32(light.position[k]) - plane for k, plane in enumerate((px, py, pz)))
            squared = lx * lx + ly * ly + lz * lz
            cosine = np.maximum(nx * lx + ny * ly + nz * lz, 0)
            total += cosine * np.float32(2.2 * light.strength) / (np.sqrt(squared) * (1 + np.float32(0.35) * squared))
        return total
