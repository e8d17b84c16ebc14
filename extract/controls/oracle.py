"""Features made from ground truth: the ceiling of every probe score, group by group.

Lengths and directions are in the camera frame of position 0, that of the geometry ground truth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from configs.loader import closest
from extract.adapter import Adapter, ClipInput, Variant
from extract.controls.maps import Maps, MapSource, average, average_known
from extract.model import ModelConfig
from extract.noise import NOISE_RULE, Noise

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
    source = variant.noise_source
    identity = {"version": VERSION, "groups": groups, "noise": noise, "noise_seed": source.seed}
    if source.rule != NOISE_RULE:
        identity["noise_rule"] = source.rule
    make = partial(compute, groups=groups, noise=noise, source=source)
    width = sum(GROUPS[name] for name in groups)
    truth = tuple(dict.fromkeys(kind for name in groups for kind in _TRUTH[name]))
    return MapSource(model, variant, width, make, identity, truth)


def compute(clip: ClipInput, grid: tuple[int, int], groups: Sequence[str], noise: float, source: Noise) -> Maps:
    """Return (20, rows, columns, C) float32: the groups, plus Gaussian noise of standard deviation `noise`."""
    parts = [_MAKERS[name](clip, grid, source) for name in groups]
    features = np.concatenate(parts, axis=-1)
    if noise:
        features = features + noise * source.array(clip.clip_id, "oracle", features.shape)
    return features.astype(np.float32)


def _colour(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    return np.concatenate([average(frame[None].astype(np.float32) / 127.5 - 1, grid) for frame in clip.frames])


def _depth(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    depth = clip.ground_truth["depth"]
    known = depth > 0
    return average_known(np.log(np.where(known, depth, 1))[..., None], known, grid)


def _normal(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    """Unit normals of the surface through neighbouring points, towards the camera."""
    maps = []
    for depth, pose, directions in zip(clip.ground_truth["depth"], _to_first(clip), _directions(clip), strict=True):
        forward = np.tensordot(pose[:3, 2], directions, 1)
        points = directions * (depth / forward) + pose[:3, 3, None, None]
        normal = _cross(np.gradient(points, axis=2), np.gradient(points, axis=1))
        length = np.linalg.norm(normal, axis=0)
        facing = np.where((normal * directions).sum(axis=0) > 0, -1.0, 1.0)
        normal *= np.divide(facing, length, out=np.zeros_like(length), where=length > 0)
        maps.append(average_known(np.moveaxis(normal, 0, -1)[None], depth[None] > 0, grid))
    return np.concatenate(maps)


def _pluecker(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    """Direction and moment of the ray through each pixel."""
    maps = []
    for pose, directions in zip(_to_first(clip), _directions(clip), strict=True):
        moments = _cross(pose[:3, 3, None, None], directions)
        maps.append(average(np.moveaxis(np.concatenate([directions, moments]), 0, -1)[None], grid))
    return np.concatenate(maps)


def _code(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    """A random vector per instance of the clip, averaged over the pixels of the cell; 0 where there is none."""
    instance = clip.ground_truth["instance"]
    codes = source.array(clip.clip_id, "code", (int(instance.max()) + 1, CODE))
    codes[0] = 0
    return np.concatenate([average(codes[frame[None]], grid) for frame in instance])


def _classes(clip: ClipInput, grid: tuple[int, int], source: Noise) -> Maps:
    """Share of the cell's pixels that belongs to each class."""
    one_hot = np.eye(CLASSES + 1, dtype=np.float32)[:, :CLASSES]  # the last row is for pixels without a class
    rows = one_hot[np.clip(clip.ground_truth["class_of_instance"], -1, CLASSES - 1)]
    return np.concatenate([average(rows[frame[None]], grid) for frame in clip.ground_truth["instance"]])


_MAKERS: dict[str, Callable[[ClipInput, tuple[int, int], Noise], Maps]] = {
    "colour": _colour, "normal": _normal, "depth": _depth, "rays": _pluecker, "code": _code, "classes": _classes,
}  # fmt: skip


def _to_first(clip: ClipInput) -> NDArray[np.float64]:
    """(n, 4, 4) from each camera to the camera of the first frame."""
    poses = clip.ground_truth["cam2world"].astype(np.float64)
    return np.asarray(np.linalg.inv(poses[0]) @ poses)


def _directions(clip: ClipInput) -> Iterator[NDArray[np.float64]]:
    """Yield, frame by frame, unit directions (3, H, W) of the rays through the pixel centres of the ground truth."""
    _, height, width = clip.ground_truth["depth"].shape
    inverses = np.linalg.inv(clip.ground_truth["intrinsics"].astype(np.float64))
    for matrix in _to_first(clip)[:, :3, :3] @ inverses:
        across, down, constant = matrix.T[:, :, None, None]
        x, y = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
        rays = x * across + (y * down + constant)
        yield rays / np.linalg.norm(rays, axis=0)


def _cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cross product of vectors along the first axis."""
    return np.stack([a[i] * b[j] - a[j] * b[i] for i, j in ((1, 2), (2, 0), (0, 1))])
