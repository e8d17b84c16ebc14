"""How things look: two colours, a pattern and its scale per material slot, drawn without regard to the category."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.dataset.taxonomy import SCANNET20
from data.rooms.config import RoomsConfig
from data.rooms.scene import SHELL_LABELS, Scene
from data.rooms.textures import FLOOR_KINDS, KINDS, WALL_KINDS

Rng = np.random.Generator
SLOTS = 3


@dataclass(frozen=True)
class Look:
    """Materials of the surfaces of a scene: the six faces of the shell first, then its primitives.

    Attributes:
        colour: (6 + P, 2, 3) float32, linear RGB in [0, 1] for the two ends of the pattern.
        pattern: (6 + P,) index into the texture atlas.
        scale: (6 + P,) float32, repeats of the pattern per metre.
        contrast: how far the pattern goes from the first colour to the second, in [0, 1].
    """

    colour: NDArray[np.float32]
    pattern: NDArray[np.int32]
    scale: NDArray[np.float32]
    contrast: float


@dataclass(frozen=True)
class _Slots:
    """The materials of one object: (3, 2, 3) colours, (3,) patterns, (3,) scales."""

    colour: NDArray[np.float64]
    pattern: NDArray[np.int64]
    scale: NDArray[np.float64]


def paint(config: RoomsConfig, scene: Scene, rng: Rng) -> Look:
    """Draw the look of a scene from the appearance stream.

    Every object takes the same number of draws, so that one object's look doesn't depend on the others'.

    Args:
        config: `appearance_leak` mixes a palette of the category in; `texture` is the contrast.
        scene: the geometry.
        rng: the appearance stream.
    """
    shell_colour, shell_pattern, shell_scale = _shell(rng)
    own = [_draw(rng) for _ in scene.objects]
    leak_draws = rng.random(len(own))
    slots = []
    for number, item in enumerate(scene.objects):
        seen = own[item.look_of]
        if config.appearance_leak > 0:
            seen = _mix(
                seen,
                _of_class(item.label),
                config.appearance_leak,
                bool(leak_draws[item.look_of] < config.appearance_leak),
            )
        slots.append(seen)
        assert number == len(slots) - 1
    p = scene.primitives
    colour = [slots[o].colour[s] for o, s in zip(p.owner, p.slot, strict=True)]
    pattern = [slots[o].pattern[s] for o, s in zip(p.owner, p.slot, strict=True)]
    scale = [slots[o].scale[s] for o, s in zip(p.owner, p.slot, strict=True)]
    return Look(
        np.concatenate([shell_colour, np.array(colour).reshape(-1, 2, 3)]).astype(np.float32),
        np.concatenate([shell_pattern, np.array(pattern, np.int64)]).astype(np.int32),
        np.concatenate([shell_scale, np.array(scale, np.float64)]).astype(np.float32),
        config.texture,
    )


def _shell(rng: Rng) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Draw walls of one colour with patterns of their own, a floor and a pale ceiling."""
    wall = _colour(rng, 0.35)
    colours, patterns = [], []
    for label in SHELL_LABELS:
        kinds = {"wall": WALL_KINDS, "floor": FLOOR_KINDS}.get(label, (1,))
        base = wall if label == "wall" else _colour(rng, 0.6 if label == "floor" else 0.1)
        colours.append(np.stack([base, base * 0.65]))
        patterns.append(kinds[int(rng.integers(len(kinds)))])
    return np.stack(colours), np.array(patterns), rng.uniform(0.5, 1.2, len(SHELL_LABELS))


def _draw(rng: Rng) -> _Slots:
    base = np.stack([_colour(rng, 0.75) for _ in range(SLOTS)])
    second = base * rng.uniform(0.4, 0.75, (SLOTS, 1))
    return _Slots(np.stack([base, second], axis=1), rng.integers(0, len(KINDS), SLOTS), rng.uniform(0.8, 3.0, SLOTS))


def _of_class(label: str) -> _Slots:
    """Return the fixed look of a category, the far end of `appearance_leak`."""
    rng = np.random.Generator(np.random.PCG64([11, SCANNET20.index(label)]))
    slots = _draw(rng)
    hue = SCANNET20.index(label) / len(SCANNET20)
    base = np.array([colorsys.hsv_to_rgb(hue, 0.8, value) for value in (0.9, 0.65, 0.4)])
    return _Slots(np.stack([base, base * 0.6], axis=1), slots.pattern, slots.scale)


def _mix(own: _Slots, of_class: _Slots, share: float, pattern_too: bool) -> _Slots:
    colour = (1 - share) * own.colour + share * of_class.colour
    chosen = of_class if pattern_too else own
    return _Slots(colour, chosen.pattern, chosen.scale)


def _colour(rng: Rng, saturation: float) -> NDArray[np.float64]:
    hue, strength, value = rng.random(), rng.uniform(0.05, saturation), rng.uniform(0.35, 0.95)
    return np.array(colorsys.hsv_to_rgb(hue, strength, value))
