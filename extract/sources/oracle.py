"""Features made of ground truth: the ceiling of every probe score, group by group.

Lengths and directions are in the camera frame of position 0, the one in which the probes predict geometry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.loader import closest
from extract.adapter import Adapter, ClipInput, Variant
from extract.model import ModelConfig
from extract.noise import seed_for
from extract.sources._maps import Maps, MapSource, average, average_known

VERSION = 1
CODE = 16
"""Channels of the random code of an instance."""
CLASSES = 20
"""Channels of the class histogram."""

GROUPS = {"colour": 3, "normal": 3, "depth": 1, "rays": 6, "code": CODE, "classes": CLASSES}
"""Group -> channels, in the order in which chosen groups are concatenated."""
_SPACE = ("depth", "intrinsics", "cam2world")
_TRUTH = {
    "colour": (), "normal": _SPACE, "depth": ("depth",), "rays": _SPACE, "code": ("instance",),
    "classes": ("instance", "class_of_instance"),
}  # fmt: skip


def build(model: ModelConfig, variant: Variant) -> Adapter:
    """Make the source from the groups of `variant.extra`.

    Raises:
        ConfigError: an unknown group, or none.
    """
    chosen = list(variant.extra.get("groups") or model.settings["groups"])
    for name in chosen:
        if name not in GROUPS:
            raise ConfigError(f"unknown group {name!r} of the oracle", fix=closest(name, GROUPS))
    groups = [name for name in GROUPS if name in chosen]
    noise = float(variant.extra.get("oracle_noise", 0.0))
    identity = {"version": VERSION, "groups": groups, "noise": noise, "noise_seed": variant.noise_seed}
    make = partial(compute, groups=groups, noise=noise, seed=variant.noise_seed)
    width = sum(GROUPS[name] for name in groups)
    truth = tuple(dict.fromkeys(kind for name in groups for kind in _TRUTH[name]))
    return MapSource(model, variant, width, make, identity, truth)


def compute(clip: ClipInput, grid: tuple[int, int], groups: Sequence[str], noise: float, seed: int) -> Maps:
    """Return (20, rows, columns, C) float32: the groups, plus Gaussian noise of standard deviation `noise`."""
    parts = [_MAKERS[name](clip, grid, seed) for name in groups]
    features = np.concatenate(parts, axis=-1)
    if noise:
        random = np.random.default_rng(seed_for(seed, clip.clip_id, "oracle"))
        features = features + noise * random.standard_normal(features.shape, dtype=np.float32)
    return features.astype(np.float32)


def _colour(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    return average(clip.frames.astype(np.float32) / 127.5 - 1, grid)


def _depth(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    depth = clip.ground_truth["depth"]
    known = depth > 0
    return average_known(np.log(np.where(known, depth, 1))[..., None], known, grid)


def _normal(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    """Unit normals of the surface through neighbouring points, towards the camera."""
    depth = clip.ground_truth["depth"]
    directions, _ = _rays(clip)
    origin = _to_first(clip)[:, :3, 3]
    points = directions / _forward(clip, directions) * depth[..., None] + origin[:, None, None]
    normal = np.cross(np.gradient(points, axis=2), np.gradient(points, axis=1))
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.divide(normal, length, out=np.zeros_like(normal), where=length > 0)
    normal *= -np.sign(np.sum(normal * directions, axis=-1, keepdims=True))
    return average_known(normal, depth > 0, grid)


def _pluecker(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    """Direction and moment of the ray through each pixel."""
    directions, moments = _rays(clip)
    return average(np.concatenate([directions, moments], axis=-1), grid)


def _code(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    """A random vector per instance of the clip, averaged over the pixels of the cell; 0 where there is none."""
    instance = clip.ground_truth["instance"]
    random = np.random.default_rng(seed_for(seed, clip.clip_id, "code"))
    codes = random.standard_normal((int(instance.max()) + 1, CODE), dtype=np.float32)
    codes[0] = 0
    return average(codes[instance], grid)


def _classes(clip: ClipInput, grid: tuple[int, int], seed: int) -> Maps:
    """Share of the cell's pixels that belongs to each class."""
    classes = clip.ground_truth["class_of_instance"][clip.ground_truth["instance"]]
    return average(np.eye(CLASSES + 1, dtype=np.float32)[np.clip(classes, -1, CLASSES - 1)][..., :CLASSES], grid)


_MAKERS: dict[str, Callable[[ClipInput, tuple[int, int], int], Maps]] = {
    "colour": _colour, "normal": _normal, "depth": _depth, "rays": _pluecker, "code": _code, "classes": _classes,
}  # fmt: skip


def _to_first(clip: ClipInput) -> NDArray[np.float64]:
    """(n, 4, 4) from each camera to the camera of the first frame."""
    poses = clip.ground_truth["cam2world"].astype(np.float64)
    return np.asarray(np.linalg.inv(poses[0]) @ poses)


def _rays(clip: ClipInput) -> tuple[NDArray[Any], NDArray[Any]]:
    """Unit directions and moments (n, H, W, 3) of the rays through the pixel centres of the ground truth."""
    count, height, width = clip.ground_truth["depth"].shape
    inverse = np.linalg.inv(clip.ground_truth["intrinsics"].astype(np.float64))
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    pixels = np.stack([x, y, np.ones_like(x)], axis=-1)
    pose = _to_first(clip)
    directions = pixels.reshape(1, -1, 3) @ (pose[:, :3, :3] @ inverse).transpose(0, 2, 1)
    directions = directions.reshape(count, height, width, 3)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    origin = np.broadcast_to(pose[:, None, None, :3, 3], (count, height, width, 3))
    return directions, np.cross(origin, directions)


def _forward(clip: ClipInput, directions: NDArray[Any]) -> NDArray[Any]:
    """Component of each direction along its own camera's axis (n, H, W, 1): turns depth into distance."""
    axis = _to_first(clip)[:, :3, 2]
    return np.asarray(np.einsum("nhwi,ni->nhw", directions, axis)[..., None])
