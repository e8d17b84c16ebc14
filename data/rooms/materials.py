"""How a room looks: patterns, colours and lights, drawn without regard to the category of an object.

Twelve tileable grey patterns are kept with their mip chains in one array for fast look-up. A material slot has two
colours, a pattern and its scale; two point lights and an ambient term light the room.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.dataset.taxonomy import SCANNET20
from data.rooms.config import RoomsConfig
from data.rooms.scene import SHELL_LABELS, Scene

Floats = NDArray[np.float32]
SIZE = 128
PATTERNS = (
    "flat", "clouds", "noise", "grain", "checker", "stripes", "bands", "wood", "brick", "dots", "marble", "tiles",
)  # fmt: skip
WALL_PATTERNS = (1, 2, 5, 8, 11)
FLOOR_PATTERNS = (3, 4, 7, 11)
Rng = np.random.Generator
SLOTS = 3


class Atlas(NamedTuple):
    """All patterns at all sizes.

    Attributes:
        texels: (N,) float32 in [0, 1]; pattern k of level l is the square that starts at offset[l] + k * size[l]^2.
        offset: (L,) start of each level.
        size: (L,) edge of each level in texels: 128, 64, ..., 4.
    """

    texels: Floats
    offset: NDArray[np.int32]
    size: NDArray[np.int32]


@lru_cache(maxsize=1)
def atlas() -> Atlas:
    """Return the patterns; the same in every dataset."""
    level = _patterns().astype(np.float32)
    levels = [level]
    while level.shape[1] > 4:
        level = (level[:, ::2, ::2] + level[:, 1::2, ::2] + level[:, ::2, 1::2] + level[:, 1::2, 1::2]) * np.float32(
            0.25
        )
        levels.append(level)
    texels = np.concatenate([item.ravel() for item in levels])
    offset = np.cumsum([0] + [item.size for item in levels[:-1]])
    return Atlas(texels, offset.astype(np.int32), np.array([item.shape[1] for item in levels], np.int32))


def _patterns() -> NDArray[np.float64]:
    """Draw the 12 patterns at full size, (12, 128, 128) in [0, 1]."""
    rng = np.random.Generator(np.random.PCG64(7))
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    clouds, noise, grain = (_tileable_noise(rng, octaves) for octaves in (2, 4, 5))
    row = np.floor(y * 8)
    return np.stack(
        [
            np.full((SIZE, SIZE), 0.5),
            clouds,
            noise,
            grain,
            (np.floor(x * 8) + row) % 2,
            np.floor(x * 8) % 2,
            row % 2,
            0.5 + 0.5 * np.sin(2 * np.pi * (4 * x + 0.5 * noise)),
            1.0 - (((y * 8) % 1 < 0.12) | (((x * 4 + 0.5 * (row % 2)) % 1) < 0.06)),
            ((x * 8 % 1 - 0.5) ** 2 + (y * 8 % 1 - 0.5) ** 2 < 0.09) * 1.0,
            np.clip(0.5 + 0.5 * np.sin(2 * np.pi * (2 * x + 2 * grain)), 0, 1) ** 2,
            1.0 - (((y * 4) % 1 < 0.04) | ((x * 4) % 1 < 0.04)),
        ]
    )


def _tileable_noise(rng: np.random.Generator, octaves: int) -> NDArray[np.float64]:
    """Return smooth value noise that repeats at its edges, (128, 128) in [0, 1]."""
    total = np.zeros((SIZE, SIZE))
    for octave in range(octaves):
        cells = min(SIZE, 4 * 2**octave)
        grid = rng.random((cells, cells))
        at = np.arange(SIZE) * cells / SIZE
        low = at.astype(int)
        high = (low + 1) % cells
        t = at - low
        t = t * t * (3 - 2 * t)
        upper = grid[low][:, low] * (1 - t) + grid[low][:, high] * t
        lower = grid[high][:, low] * (1 - t) + grid[high][:, high] * t
        total += 0.5**octave * (upper * (1 - t)[:, None] + lower * t[:, None])
    return np.asarray((total - total.min()) / (total.max() - total.min()))


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
        kinds = {"wall": WALL_PATTERNS, "floor": FLOOR_PATTERNS}.get(label, (1,))
        base = wall if label == "wall" else _colour(rng, 0.6 if label == "floor" else 0.1)
        colours.append(np.stack([base, base * 0.65]))
        patterns.append(kinds[int(rng.integers(len(kinds)))])
    return np.stack(colours), np.array(patterns), rng.uniform(0.5, 1.2, len(SHELL_LABELS))


def _draw(rng: Rng) -> _Slots:
    base = np.stack([_colour(rng, 0.75) for _ in range(SLOTS)])
    second = base * rng.uniform(0.4, 0.75, (SLOTS, 1))
    return _Slots(np.stack([base, second], axis=1), rng.integers(0, len(PATTERNS), SLOTS), rng.uniform(0.8, 3.0, SLOTS))


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
