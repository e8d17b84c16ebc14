"""What stands in a room or floats in a tunnel, and where: places that neither intersect nor leave the room.

In tunnels image height says more, less or the opposite about distance than in ordinary rooms. Objects float at a depth
and an angle of the cross-section (after "Why Far Looks Up", arXiv 2605.30161): in `tunnel` their heights follow their
depths through a Gaussian copula, in `tunnel_pair` two objects visit a grid of angles.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from data.dataset.taxonomy import SCANNET20
from data.rooms.config import RoomsConfig
from data.rooms.scene import Placed, Scene
from data.rooms.shapes import GRAMMARS, Part, extent

ROOM_TYPES: dict[str, tuple[str, ...]] = {
    "living": (
        "sofa", "table", "chair", "chair", "bookshelf", "picture", "window", "curtain", "otherfurniture", "door",
        "cabinet",
    ),
    "bedroom": (
        "bed", "cabinet", "desk", "chair", "window", "curtain", "picture", "otherfurniture", "door", "bookshelf",
    ),
    "kitchen": (
        "counter", "refrigerator", "sink", "table", "chair", "chair", "cabinet", "window", "door", "otherfurniture",
    ),
    "bathroom": ("toilet", "sink", "bathtub", "shower curtain", "door", "cabinet", "window", "otherfurniture"),
    "office": ("desk", "desk", "chair", "chair", "bookshelf", "cabinet", "picture", "window", "door", "table"),
}  # fmt: skip
"""Room type -> categories that it starts with."""

KEEP: dict[str, float] = dict(
    zip(
        SCANNET20.names,
        (1, 1, 0.8, 0.7, 0.9, 0.7, 0.8, 0.85, 0.75, 0.55, 0.6, 0.6, 0.6, 0.45, 0.5, 0.35, 0.6, 0.6, 0.35, 0.7),
        strict=True,
    )
)
"""Probability that a category of the room's list is kept, and weight of what fills the room up. Gives the class
frequencies a head and a tail."""

WALL_MOUNTED = frozenset({"door", "window", "picture", "curtain", "shower curtain"})
AGAINST_WALL = frozenset(
    {"cabinet", "bookshelf", "refrigerator", "counter", "sofa", "bed", "toilet", "sink", "bathtub", "desk"}
)
"""Everything else stands free; chairs look for a table or desk first."""


Rng = np.random.Generator
TRIES = 40
GAP = 0.03
"""Metres between the boxes of two objects, and between an object and a wall that it doesn't hang on."""
HALF = (1.3, 7.0, 1.3)
"""Half extents of a tunnel, metres; its length runs along y."""
REACH = 0.34
"""Largest half extent of a floating object, metres."""
_LABELS = tuple(label for label in GRAMMARS if label not in WALL_MOUNTED)


@dataclass(frozen=True)
class Block:
    """Upright oriented box around an object in its place, used to keep objects apart."""

    x: float
    y: float
    half_x: float
    half_y: float
    low: float
    high: float
    yaw: float

    def axes(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return the two horizontal unit axes."""
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        return (c, s), (-s, c)

    def reach(self, axis: tuple[float, float]) -> float:
        """Return half the length of the box's shadow on a horizontal unit axis."""
        (ax, ay), (bx, by) = self.axes()
        return self.half_x * abs(ax * axis[0] + ay * axis[1]) + self.half_y * abs(bx * axis[0] + by * axis[1])

    def meets(self, other: Block) -> bool:
        """Return whether two boxes come closer than `GAP` (separating axes, exact for upright boxes)."""
        if self.low >= other.high + GAP or other.low >= self.high + GAP:
            return False
        for axis in (*self.axes(), *other.axes()):
            distance = abs((self.x - other.x) * axis[0] + (self.y - other.y) * axis[1])
            if distance >= self.reach(axis) + other.reach(axis) + GAP:
                return False
        return True


def furnish(config: RoomsConfig, rng: Rng) -> Scene:
    """Draw a furnished room; what finds no place in 40 tries is left out.

    Args:
        config: `objects`, `class_prior`, `twin_prob` and `twin_same_look` are used.
        rng: the layout stream.
    """
    half = (rng.uniform(1.9, 3.2), rng.uniform(1.9, 3.4), rng.uniform(1.2, 1.5))
    room = list(ROOM_TYPES)[int(rng.integers(len(ROOM_TYPES)))]
    placed: list[Placed] = []
    blocks: list[Block] = []
    for label, parts in _wanted(config, room, rng):
        number = len(placed)
        original = next((i for i, item in enumerate(placed) if item.parts is parts), number)
        item = _place(label, parts, half, placed, blocks, original if config.twin_same_look else number, rng)
        if item is not None:
            placed.append(item)
            blocks.append(block_of(item))
    return Scene(room, half, tuple(placed))


def _wanted(config: RoomsConfig, room: str, rng: Rng) -> list[tuple[str, list[Part]]]:
    """Draw categories and shapes, large things first so that they find room; twins share one list of parts."""
    names = [name for name in ROOM_TYPES[room] if rng.random() < KEEP[name] ** config.class_prior]
    extra = list(GRAMMARS)
    weights = np.array([KEEP[name] for name in extra]) ** config.class_prior
    while len(names) < config.objects:
        names.append(extra[int(rng.choice(len(extra), p=weights / weights.sum()))])
    wanted: list[tuple[str, list[Part]]] = []
    for name in names:
        parts = GRAMMARS[name](rng)
        wanted += [(name, parts)] * (2 if rng.random() < config.twin_prob else 1)

    def rank(entry: tuple[str, list[Part]]) -> float:
        low, high = extent(entry[1])
        first = {"door": -100.0, "window": -50.0, "chair": 100.0}.get(entry[0], 0.0)
        return first - (high[0] - low[0]) * (high[1] - low[1]) * (high[2] - low[2])

    return sorted(wanted[: config.objects], key=rank)


def _place(
    label: str,
    parts: list[Part],
    half: tuple[float, float, float],
    placed: list[Placed],
    blocks: list[Block],
    look: int,
    rng: Rng,
) -> Placed | None:
    """Find a place for an object that keeps it inside the room and off all others, or give up."""
    low, high = extent(parts)
    reach = max(math.hypot(a, b) for a in (low[0], high[0]) for b in (low[1], high[1])) + 0.1
    tables = [block for item, block in zip(placed, blocks, strict=True) if item.label in ("table", "desk")]
    for _ in range(TRIES):
        if label in WALL_MOUNTED or label in AGAINST_WALL:
            x, y, yaw = _at_wall(low, high, half, 0.0 if label in WALL_MOUNTED else GAP, rng)
        elif label == "chair" and tables and rng.random() < 0.8:
            x, y, yaw = _at_table(high, tables[int(rng.integers(len(tables)))], rng)
        else:
            x, y = (rng.uniform(-1, 1) * max(side - reach, 0.0) for side in half[:2])
            yaw = rng.uniform(0, 2 * math.pi)
        item = Placed(label, parts, (x, y, -half[2]), yaw, 1.0, look)
        block = block_of(item)
        margin = -1e-6 if label in WALL_MOUNTED else GAP / 2
        if _fits(block, half, margin) and not any(block.meets(other) for other in blocks):
            return item
    return None


def _at_wall(
    low: tuple[float, ...], high: tuple[float, ...], half: tuple[float, ...], gap: float, rng: Rng
) -> tuple[float, float, float]:
    """Stand with the back to one of the four walls, at most `gap` away."""
    wall = int(rng.integers(4))
    along_half, across_half = (half[0], half[1]) if wall < 2 else (half[1], half[0])
    slack = max(along_half - max(-low[0], high[0]) - GAP, 0.0)
    along, back = rng.uniform(-slack, slack), across_half - gap + low[1]
    x, y = ((along, back), (along, -back), (back, along), (-back, along))[wall]
    return x, y, (math.pi, 0.0, math.pi / 2, -math.pi / 2)[wall]


def _at_table(high: tuple[float, ...], table: Block, rng: Rng) -> tuple[float, float, float]:
    """Draw a place beside a table or in front of a desk, seat towards it."""
    side = int(rng.integers(4))
    ux, uy = table.axes()
    direction, reach, across = ((ux, table.half_x, uy), (uy, table.half_y, ux))[side % 2]
    sign = 1.0 if side < 2 else -1.0
    away = reach + high[1] + rng.uniform(0.05, 0.2)
    shift = rng.uniform(-0.3, 0.3) * (table.half_y if side % 2 == 0 else table.half_x)
    x = table.x + sign * away * direction[0] + shift * across[0]
    y = table.y + sign * away * direction[1] + shift * across[1]
    yaw = math.atan2(-sign * direction[1], -sign * direction[0]) - math.pi / 2 + rng.uniform(-0.25, 0.25)
    return x, y, yaw


def block_of(item: Placed) -> Block:
    """Return the box around a placed object; it need not be centred on the object's origin."""
    low, high = extent(item.parts)
    k, (x, y, z) = item.scale, item.position
    cx, cy = k * (low[0] + high[0]) / 2, k * (low[1] + high[1]) / 2
    c, s = math.cos(item.yaw), math.sin(item.yaw)
    return Block(
        x + c * cx - s * cy, y + s * cx + c * cy, k * (high[0] - low[0]) / 2, k * (high[1] - low[1]) / 2,
        z + k * low[2], z + k * high[2], item.yaw,
    )  # fmt: skip


def _fits(block: Block, half: tuple[float, ...], margin: float) -> bool:
    """Return whether a box keeps a distance from the four walls and stays below the ceiling."""
    return (
        block.high <= half[2] - GAP
        and abs(block.x) + block.reach((1.0, 0.0)) <= half[0] - margin
        and abs(block.y) + block.reach((0.0, 1.0)) <= half[1] - margin
    )


def tunnel(config: RoomsConfig, rng: Rng) -> Scene:
    """Draw a tunnel of floating things whose heights and depths correlate as `vd` asks; some may find no place.

    Args:
        config: `objects` and `vd` are used.
        rng: the layout stream.
    """
    count = config.objects
    depths = np.sort(rng.uniform(-HALF[1] + 2.2, HALF[1] - 0.8, count))
    normal = np.array([NormalDist().inv_cdf((rank + 0.5) / count) for rank in range(count)])
    mixed = config.vd * normal + math.sqrt(1 - config.vd**2) * rng.standard_normal(count)
    heights = (np.argsort(np.argsort(mixed)) + 0.5) / count * 2 - 1
    objects: list[Placed] = []
    blocks: list[Block] = []
    for depth, height in zip(depths, heights, strict=True):
        label = _LABELS[int(rng.integers(len(_LABELS)))]
        parts = GRAMMARS[label](rng)
        for _ in range(TRIES):
            x = rng.choice([-1.0, 1.0]) * rng.uniform(0.36, HALF[0] - REACH - 0.03)
            item = _float(
                label, parts, (x, depth, height * (HALF[2] - REACH)), rng.uniform(0, 2 * math.pi), 1.0, len(objects)
            )
            block = block_of(item)
            if not any(block.meets(other) for other in blocks):
                objects.append(item)
                blocks.append(block)
                break
    return Scene("tunnel", HALF, tuple(objects))


def tunnel_pair(config: RoomsConfig, rng: Rng, cell: int) -> Scene:
    """Place two objects at fixed depths and the angles of one cell of a 16 x 16 grid.

    Args:
        config: with `equal_size` the farther one is larger in proportion to its distance from the entrance.
        rng: the layout stream; both shapes and the depths come from it, not from the cell.
        cell: 0..255; the first object's angle is cell // 16, the second's cell % 16, in sixteenths of a turn.
    """
    near = rng.uniform(-3.6, -2.6)
    far = rng.uniform(-0.6, 1.4)
    objects = []
    for number, (depth, step) in enumerate(((near, cell // 16), (far, cell % 16))):
        label = _LABELS[int(rng.integers(len(_LABELS)))]
        parts = GRAMMARS[label](rng)
        angle = 2 * math.pi * step / 16
        growth = (depth + HALF[1]) / (far + HALF[1]) if config.equal_size else 1.0
        radius = HALF[0] - REACH - 0.05
        place = (radius * math.cos(angle), depth, radius * math.sin(angle))
        objects.append(_float(label, parts, place, rng.uniform(0, 2 * math.pi), growth, number))
    return Scene("tunnel", HALF, tuple(objects))


def _float(
    label: str, parts: list[Part], centre: tuple[float, float, float], yaw: float, growth: float, number: int
) -> Placed:
    """Hang an object by the middle of its box, scaled so that no half extent exceeds `REACH`."""
    low, high = (np.array(corner) for corner in extent(parts))
    half = (high - low) / 2
    across = math.hypot(half[0], half[1])
    scale = growth * REACH / max(across, half[2])
    middle = (low + high) / 2 * scale
    turned = np.array(
        [
            math.cos(yaw) * middle[0] - math.sin(yaw) * middle[1],
            math.sin(yaw) * middle[0] + math.cos(yaw) * middle[1],
            middle[2],
        ]
    )
    position: NDArray[np.float64] = np.array(centre) - turned
    return Placed(label, parts, (float(position[0]), float(position[1]), float(position[2])), yaw, float(scale), number)
