"""Shape grammars: each category builds its objects from boxes, ellipsoids and cylinders of random size.

Object frame: z up, floor at z = 0, front towards +y, width along x; metres. Colours are slots 0 to 2, filled elsewhere,
so that nothing but shape tells the category. Faces of touching parts never lie in one plane: it would flicker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

BOX, ELLIPSOID, CYLINDER = 0, 1, 2
"""Kinds of primitives; a cylinder is elliptic, capped, with its axis along z."""

Rng = np.random.Generator
Vector = tuple[float, float, float]


class Part(NamedTuple):
    """One primitive of an object: kind, centre and half extents in the object frame, material slot."""

    kind: int
    centre: Vector
    half: Vector
    slot: int

    def mirrored(self) -> Part:
        """Return the part with z reversed."""
        x, y, z = self.centre
        return self._replace(centre=(x, y, -z))


def box(x: float, y: float, z: float, a: float, b: float, c: float, slot: int = 0) -> Part:
    """Return a box by centre, half extents and slot."""
    return Part(BOX, (x, y, z), (a, b, c), slot)


def ball(x: float, y: float, z: float, a: float, b: float, c: float, slot: int = 0) -> Part:
    """Return an ellipsoid by centre, half axes and slot."""
    return Part(ELLIPSOID, (x, y, z), (a, b, c), slot)


def tube(x: float, y: float, z: float, a: float, b: float, c: float, slot: int = 0) -> Part:
    """Return an upright cylinder by centre, half axes, half height and slot."""
    return Part(CYLINDER, (x, y, z), (a, b, c), slot)


def _cabinet(rng: Rng) -> list[Part]:
    w, d, h = rng.uniform(0.3, 0.6), rng.uniform(0.2, 0.3), rng.uniform(0.35, 0.65)
    parts = [box(0, 0, h, w, d, h)]
    for side in (-1, 1):
        parts.append(box(side * w * 0.5, d, h, w * 0.45, 0.012, h * 0.9, 1))
        parts.append(ball(side * w * 0.12, d + 0.03, h, 0.025, 0.025, 0.025, 2))
    return parts


def _bed(rng: Rng) -> list[Part]:
    w, d, h = rng.uniform(0.5, 0.9), rng.uniform(0.95, 1.05), rng.uniform(0.14, 0.2)
    parts = [
        box(0, 0, h, w, d, h),
        box(0, 0.03, 2 * h + 0.08, w * 0.97, d * 0.96, 0.1, 1),
        box(0, -d, h + 0.35, w * 1.03, 0.04, h + 0.35),
    ]
    pillows = (0.0,) if w < 0.62 else (-0.45, 0.45)
    parts += [ball(side * w, -d * 0.72, 2 * h + 0.2, min(w * 0.38, 0.3), 0.18, 0.09, 2) for side in pillows]
    if rng.random() < 0.5:
        parts.append(box(0, d * 0.5, 2 * h + 0.17, w * 0.99, d * 0.4, 0.03, 2))  # blanket
    return parts


def _chair(rng: Rng) -> list[Part]:
    s, back = rng.uniform(0.2, 0.25), rng.uniform(0.22, 0.3)
    parts = [box(0, 0, 0.45, s, s, 0.03), box(0, -s + 0.02, 0.49 + back, s * 0.96, 0.025, back)]
    parts += [tube(a * s * 0.85, b * s * 0.85, 0.21, 0.025, 0.025, 0.21, 1) for a in (-1, 1) for b in (-1, 1)]
    if rng.random() < 0.35:  # arm rests
        parts += [box(a * (s + 0.02), 0, 0.66, 0.025, s * 0.8, 0.02, 1) for a in (-1, 1)]
        parts += [box(a * (s + 0.02), s * 0.6, 0.55, 0.02, 0.02, 0.1, 1) for a in (-1, 1)]
    return parts


def _sofa(rng: Rng) -> list[Part]:
    w, seats = rng.uniform(0.6, 1.0), 2 + int(rng.integers(2))
    parts = [box(0, 0, 0.2, w, 0.4, 0.2), box(0, -0.33, 0.55, w * 0.99, 0.11, 0.32)]
    parts += [box(side * (w + 0.06), 0.01, 0.3, 0.1, 0.42, 0.3, 1) for side in (-1, 1)]
    pitch = 2 * (w - 0.04) / seats
    parts += [box((i + 0.5) * pitch - w + 0.04, 0.08, 0.44, pitch * 0.48, 0.31, 0.06, 2) for i in range(seats)]
    return parts


def _table(rng: Rng) -> list[Part]:
    if rng.random() < 0.5:
        r = rng.uniform(0.4, 0.65)
        return [
            tube(0, 0, 0.72, r, r, 0.025),
            tube(0, 0, 0.36, 0.05, 0.05, 0.34, 1),
            tube(0, 0, 0.02, r * 0.5, r * 0.5, 0.02, 1),
        ]
    w, d, h = rng.uniform(0.45, 0.8), rng.uniform(0.35, 0.5), rng.choice([0.22, 0.36])
    legs = [box(a * w * 0.9, b * d * 0.88, h - 0.02, 0.03, 0.03, h - 0.02, 1) for a in (-1, 1) for b in (-1, 1)]
    return [box(0, 0, 2 * h, w, d, 0.03), *legs]


def _desk(rng: Rng) -> list[Part]:
    w, d = rng.uniform(0.5, 0.8), rng.uniform(0.3, 0.4)
    parts = [box(0, 0, 0.73, w, d, 0.025), box(w * 0.72, 0.01, 0.35, w * 0.22, d * 0.9, 0.35, 1)]
    parts += [box(w * 0.72, d * 0.92, 0.14 + 0.23 * k, w * 0.19, 0.012, 0.1, 0) for k in range(3)]
    parts += [box(-w * 0.94, b * d * 0.88, 0.355, 0.025, 0.025, 0.355, 1) for b in (-1, 1)]
    x = rng.uniform(-0.4, 0.2) * w
    parts += [box(x, -d * 0.4, 1.02, 0.28, 0.02, 0.18, 2), box(x, -d * 0.4, 0.8, 0.04, 0.03, 0.05, 2)]
    return parts


def _door(rng: Rng) -> list[Part]:
    w, h = rng.uniform(0.38, 0.46), rng.uniform(0.97, 1.05)
    frame = [box(a * (w + 0.03), 0.03, h + 0.005, 0.035, 0.05, h + 0.005, 2) for a in (-1, 1)]
    top = box(0, 0.03, 2 * h + 0.03, w + 0.07, 0.052, 0.035, 2)
    panels = [box(0, 0.05, h * z, w * 0.68, 0.012, h * 0.33, 1) for z in (0.52, 1.45)]
    return [box(0, 0.02, h, w, 0.03, h), *panels, ball(w * 0.82, 0.09, h, 0.035, 0.035, 0.035, 2), *frame, top]


def _window(rng: Rng) -> list[Part]:
    w, h, z = rng.uniform(0.4, 0.8), rng.uniform(0.35, 0.5), rng.uniform(1.4, 1.55)
    parts = [box(0, 0.015, z, w, 0.025, h)]
    parts += [box(side * w * 0.5, 0.04, z, w * 0.44, 0.01, h * 0.88, 1) for side in (-1, 1)]
    parts.append(box(0, 0.05, z - h - 0.02, w * 1.06, 0.06, 0.02, 2))  # sill
    return parts


def _bookshelf(rng: Rng) -> list[Part]:
    w, h, shelves = rng.uniform(0.35, 0.55), rng.uniform(0.7, 1.0), 4 + int(rng.integers(2))
    parts = [box(0, -0.13, h, w * 0.99, 0.012, h * 0.995)]
    parts += [box(side * w, 0, h, 0.02, 0.145, h, 0) for side in (-1, 1)]
    pitch = (2 * h - 0.06) / shelves
    for k in range(shelves):
        z = 0.03 + k * pitch
        fill, height = rng.uniform(0.45, 0.9) * (w - 0.03), rng.uniform(0.32, 0.45) * pitch
        parts.append(box(0, 0, z, w * 0.98, 0.14, 0.015))
        parts.append(
            box(rng.uniform(-1, 1) * (w - 0.03 - fill), -0.02, z + 0.014 + height, fill, 0.09, height, 1 + k % 2)
        )
    parts.append(box(0, 0, 2 * h - 0.015, w * 1.01, 0.148, 0.02))
    return parts


def _picture(rng: Rng) -> list[Part]:
    w, h, z = rng.uniform(0.2, 0.5), rng.uniform(0.2, 0.4), rng.uniform(1.45, 1.6)
    return [box(0, 0.015, z, w, 0.02, h), box(0, 0.034, z, w * 0.86, 0.008, h * 0.84, 1)]


def _counter(rng: Rng) -> list[Part]:
    w, doors = rng.uniform(0.6, 1.1), 2 + int(rng.integers(2))
    parts = [box(0, -0.01, 0.425, w, 0.29, 0.425, 1), box(0, 0.01, 0.88, w + 0.02, 0.33, 0.03)]
    pitch = 2 * w / doors
    parts += [box((i + 0.5) * pitch - w, 0.285, 0.42, pitch * 0.44, 0.012, 0.36, 2) for i in range(doors)]
    return parts


def _curtain(rng: Rng) -> list[Part]:
    folds, pitch = 4 + int(rng.integers(3)), rng.uniform(0.17, 0.22)
    left = -0.5 * pitch * (folds - 1)
    parts = [
        tube(left + pitch * k, 0.08, 1.16, pitch * 0.55, 0.05 + 0.012 * (k % 2), 0.98, k % 2) for k in range(folds)
    ]
    return [*parts, box(0, 0.08, 2.18, pitch * folds * 0.55, 0.02, 0.02, 2)]


def _shower_curtain(rng: Rng) -> list[Part]:
    folds, pitch = 7 + int(rng.integers(3)), rng.uniform(0.13, 0.16)
    left = -0.5 * pitch * (folds - 1)
    parts = [tube(left + pitch * k, 0.06 + 0.03 * (k % 2), 1.05, pitch * 0.56, 0.03, 0.92) for k in range(folds)]
    rings = [tube(left + pitch * k, 0.075, 1.99, 0.012, 0.012, 0.035, 1) for k in range(0, folds, 2)]
    return [*parts, *rings, box(0, 0.075, 2.04, pitch * folds * 0.52, 0.015, 0.015, 2)]


def _refrigerator(rng: Rng) -> list[Part]:
    w, h = rng.uniform(0.3, 0.36), rng.uniform(0.8, 0.95)
    parts = [box(0, 0, h, w, 0.32, h)]
    parts += [box(0, 0.33, h * z, w * 0.97, 0.02, h * c, 1) for z, c in ((1.41, 0.56), (0.43, 0.4))]
    return parts + [box(-w * 0.75, 0.37, h * z, 0.015, 0.025, 0.16, 2) for z in (1.15, 0.6)]


def _toilet(rng: Rng) -> list[Part]:
    s = rng.uniform(0.92, 1.08)
    parts = [tube(0, 0, 0.2, 0.13, 0.18, 0.2), ball(0, 0.08, 0.42, 0.2, 0.27, 0.08)]
    parts += [
        box(0, -0.25, 0.6, 0.2, 0.09, 0.2),
        ball(0, 0.08, 0.475, 0.14, 0.2, 0.035, 1),
        box(0, -0.25, 0.815, 0.215, 0.1, 0.02, 1),
    ]
    return [
        Part(
            p.kind,
            (p.centre[0] * s, p.centre[1] * s, p.centre[2] * s),
            (p.half[0] * s, p.half[1] * s, p.half[2] * s),
            p.slot,
        )
        for p in parts
    ]


def _sink(rng: Rng) -> list[Part]:
    w = rng.uniform(0.24, 0.34)
    parts = [
        box(0, 0, 0.8, w, 0.22, 0.06),
        ball(0, 0.02, 0.855, w * 0.75, 0.15, 0.03, 1),
        tube(0, -0.02, 0.37, 0.08, 0.08, 0.37),
    ]
    return [*parts, tube(0, -0.17, 0.95, 0.02, 0.02, 0.1, 2), box(0, -0.11, 1.04, 0.018, 0.075, 0.015, 2)]


def _bathtub(rng: Rng) -> list[Part]:
    w, d = rng.uniform(0.7, 0.85), rng.uniform(0.34, 0.4)
    rim = [box(0, side * (d - 0.04), 0.53, w, 0.042, 0.03) for side in (-1, 1)]
    ends = [box(side * (w - 0.04), 0, 0.531, 0.042, d - 0.08, 0.028) for side in (-1, 1)]
    tap = [tube(w * 0.88, 0, 0.65, 0.025, 0.025, 0.1, 2), box(w * 0.8, 0, 0.735, 0.07, 0.018, 0.015, 2)]
    return [box(0, 0, 0.25, w * 0.99, d * 0.98, 0.25), box(0, 0, 0.49, w * 0.9, d * 0.84, 0.02, 1), *rim, *ends, *tap]


def _otherfurniture(rng: Rng) -> list[Part]:
    kind, s = int(rng.integers(3)), rng.uniform(0.85, 1.15)
    if kind == 0:  # plant
        r = 0.2 * s
        return [
            tube(0, 0, 0.25, r, r, 0.25),
            tube(0, 0, 0.5, 0.03, 0.03, 0.12, 2),
            ball(0, 0, 0.85, 0.3 * s, 0.3 * s, 0.32 * s, 1),
        ]
    if kind == 1:  # floor lamp
        return [
            tube(0, 0, 0.02, 0.15, 0.15, 0.02),
            tube(0, 0, 0.7, 0.02, 0.02, 0.69),
            ball(0, 0, 1.45, 0.2 * s, 0.2 * s, 0.14 * s, 1),
        ]
    r = 0.28 * s  # pouf
    return [tube(0, 0, 0.2, r, r, 0.2), ball(0, 0, 0.4, r * 0.97, r * 0.97, 0.06, 1)]


GRAMMARS: dict[str, Callable[[Rng], list[Part]]] = {
    "cabinet": _cabinet,
    "bed": _bed,
    "chair": _chair,
    "sofa": _sofa,
    "table": _table,
    "door": _door,
    "window": _window,
    "bookshelf": _bookshelf,
    "picture": _picture,
    "counter": _counter,
    "desk": _desk,
    "curtain": _curtain,
    "refrigerator": _refrigerator,
    "shower curtain": _shower_curtain,
    "toilet": _toilet,
    "sink": _sink,
    "bathtub": _bathtub,
    "otherfurniture": _otherfurniture,
}
"""The 18 movable categories: category -> builder of its parts from a generator."""


def extent(parts: Sequence[Part]) -> tuple[Vector, Vector]:
    """Return the lowest and highest corner of the parts' common box in the object frame."""
    centre = np.array([part.centre for part in parts])
    half = np.array([part.half for part in parts])
    low, high = (centre - half).min(axis=0), (centre + half).max(axis=0)
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])
