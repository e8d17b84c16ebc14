"""Furnishing a room: categories by room type, then places that neither intersect nor leave the room."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data.rooms.catalogue import AGAINST_WALL, KEEP, ROOM_TYPES, WALL_MOUNTED
from data.rooms.config import RoomsConfig
from data.rooms.scene import Placed, Scene
from data.rooms.shapes import GRAMMARS, Part, extent

Rng = np.random.Generator
TRIES = 40
GAP = 0.03
"""Metres between the boxes of two objects, and between an object and a wall that it doesn't hang on."""


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
