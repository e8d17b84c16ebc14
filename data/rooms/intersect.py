"""Closed-form ray intersections over a rectangle of pixels, on three coordinate planes.

Rays have z = 1 in the camera frame, so the ray parameter of a hit is its depth. `nan` and misses both fail the
caller's test `t < depth`; only entering hits in front of `near` count.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from data.rooms.shapes import BOX, ELLIPSOID

Plane = NDArray[np.float32]
Triple = tuple[float, float, float]
_TINY = np.float32(1e-20)
"""Keeps 1/0 finite; vanishes beside every other direction component."""
_FAR = np.float32(np.inf)


def intersect(kind: int, half: Triple, origin: Triple, x: Plane, y: Plane, z: Plane, near: float) -> Plane:
    """Return the depth at which rays enter a primitive.

    Args:
        kind: `BOX`, `ELLIPSOID` or `CYLINDER`.
        half: half extents in metres.
        origin: camera position in the primitive's frame.
        x, y, z: (h, w) float32 ray directions in the primitive's frame.
        near: hits nearer than this don't count.

    Returns:
        (h, w) float32; inf where the primitive is missed.
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
