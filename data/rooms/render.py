"""Exact ray casting with numpy: depth and instance per pixel, then colour where it is wanted.

Geometry goes primitive by primitive, front to back, over the pixel rectangle that each one can cover. Rays have z = 1
in the camera frame, so the ray parameter of a hit is its depth. Colour (normals, planar textures with mip levels, two
lamps, gamma) is computed afterwards for all pixels of a frame at once, on flat planes; per-surface values are gathered
by the surface number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.rooms.materials import Lights, Look, atlas
from data.rooms.scene import SHELL_LABELS, Pinhole, Scene
from data.rooms.shapes import BOX, CYLINDER, ELLIPSOID

Plane = NDArray[np.float32]
Triple = tuple[float, float, float]
_TINY = np.float32(1e-20)
"""Keeps 1/0 finite; vanishes beside every other direction component."""
_FAR = np.float32(np.inf)
NEAR = 0.05
"""Metres; nothing nearer to the image plane is hit."""
_SHELL = 3
_FACES = np.array([[-1, 0, 0], [1, 0, 0], [0, -1, 0], [0, 1, 0], [0, 0, 1], [0, 0, -1]], np.float32)
"""Normals of the shell's faces, into the room."""
_LEVELS = 4096
_GAMMA = ((np.arange(_LEVELS) / (_LEVELS - 1)) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def intersect(kind: int, half: Triple, origin: Triple, x: Plane, y: Plane, z: Plane, near: float) -> Plane:
    """Return the depth at which rays enter a primitive.

    Args:
        kind: `BOX`, `ELLIPSOID` or `CYLINDER`.
        half: half extents in metres.
        origin: camera position in the primitive's frame.
        x, y, z: (h, w) float32 ray directions in the primitive's frame.
        near: hits nearer than this don't count.

    Returns:
        (h, w) float32; inf where the primitive is missed. `nan` and misses both fail the caller's test `t < depth`;
        only entering hits in front of `near` count.
    """
    if kind == BOX:
        enter, leave = _slabs(half, origin, (x, y, z))
        return np.where((enter <= leave) & (enter > near), enter, _FAR)
    hx, hy, hz = (np.float32(value) for value in half)
    ox, oy, oz = (np.float32(value) for value in origin)
    ex, ey = x * (1 / hx), y * (1 / hy)
    px, py = ox / hx, oy / hy
    a, b = ex * ex + ey * ey, ex * px + ey * py
    # The discriminant b^2 - a(|p|^2 - 1) as a - |p x e|^2: equal, and exact enough for thin parts far away.
    cross = ey * px - ex * py
    q = -cross * cross
    if kind == ELLIPSOID:
        ez, pz = z * (1 / hz), oz / hz
        a += ez * ez
        b += ez * pz
        for cross in (ez * py - ey * pz, ex * pz - ez * px):
            cross *= cross
            q -= cross
    q += a
    root = np.sqrt(np.maximum(q, 0))
    a += _TINY
    enter = (-b - root) / a
    if kind == ELLIPSOID:
        return np.where((q > 0) & (enter > near), enter, _FAR)
    leave = (root - b) / a
    low, high = _slab(hz, oz, z)
    np.maximum(enter, low, out=enter)
    np.minimum(leave, high, out=leave)
    return np.where((q > 0) & (enter <= leave) & (enter > near), enter, _FAR)


def _slab(half: np.float32, origin: np.float32, direction: Plane) -> tuple[Plane, Plane]:
    inverse = 1 / (direction + _TINY)
    one, other = inverse * (-half - origin), inverse * (half - origin)
    return np.minimum(one, other), np.maximum(one, other)


def _slabs(half: Triple, origin: Triple, direction: tuple[Plane, Plane, Plane]) -> tuple[Plane, Plane]:
    enter, leave = _slab(np.float32(half[0]), np.float32(origin[0]), direction[0])
    for axis in (1, 2):
        low, high = _slab(np.float32(half[axis]), np.float32(origin[axis]), direction[axis])
        np.maximum(enter, low, out=enter)
        np.minimum(leave, high, out=leave)
    return enter, leave


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
