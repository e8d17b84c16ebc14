"""Tunnels in which image height says more, less or the opposite about distance than in ordinary rooms.

Objects float at a depth and an angle of the cross-section (after "Why Far Looks Up", arXiv 2605.30161): in `tunnel`
their heights follow their depths through a Gaussian copula, in `tunnel_pair` two objects visit a grid of angles.
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from data.rooms.catalogue import WALL_MOUNTED
from data.rooms.config import RoomsConfig
from data.rooms.furniture import TRIES, Block, block_of
from data.rooms.scene import Placed, Scene
from data.rooms.shapes import GRAMMARS, Part, extent

Rng = np.random.Generator
HALF = (1.3, 7.0, 1.3)
"""Half extents of a tunnel, metres; its length runs along y."""
REACH = 0.34
"""Largest half extent of a floating object, metres."""
_LABELS = tuple(label for label in GRAMMARS if label not in WALL_MOUNTED)


def correlated(config: RoomsConfig, rng: Rng) -> Scene:
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


def pair(config: RoomsConfig, rng: Rng, cell: int) -> Scene:
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
