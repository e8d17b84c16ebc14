"""Two point lights and an ambient term."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from data.rooms.config import RoomsConfig
from data.rooms.scene import Scene


@dataclass(frozen=True)
class Light:
    """A point light: world position in metres and strength."""

    position: tuple[float, float, float]
    strength: float


@dataclass(frozen=True)
class Lights:
    """Everything that lights a scene: point lights and the ambient level, all times `light`."""

    points: tuple[Light, ...]
    ambient: float


def hang(config: RoomsConfig, scene: Scene, rng: np.random.Generator) -> Lights:
    """Draw a strong lamp below the ceiling and a weak one at the side, from the stream of the lights.

    Args:
        config: `light` scales everything.
        scene: only its shell is used.
        rng: the stream of the lights.
    """
    w, d, h = scene.half
    main = Light(
        (rng.uniform(-0.5, 0.5) * w, rng.uniform(-0.5, 0.5) * d, h - 0.15), rng.uniform(0.5, 0.9) * config.light
    )
    side = Light(
        (rng.uniform(-0.8, 0.8) * w, rng.uniform(-0.8, 0.8) * d, 0.3 * h), rng.uniform(0.15, 0.4) * config.light
    )
    return Lights((main, side), 0.32 * config.light)
