"""Stores whose features are given as arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.similarity.samples import Layer
from cache.store import FeatureStore
from tests.stores import write_clips

Features = Mapping[str, np.ndarray]
"""Clip id -> (rows, height, width, channels)."""


def spec(name: str, shape: Sequence[int], row_of_slot: Sequence[int] | None = None) -> ArraySpec:
    """An array whose slots are its rows, or those given."""
    rows, height, width, channels = shape
    slots = tuple(range(rows)) if row_of_slot is None else tuple(row_of_slot)
    frames = tuple((row,) for row in range(rows))
    return ArraySpec(name, "dit", None, None, None, (height, width), rows, channels, "float32", slots, frames)


def write(
    place: Path,
    arrays: Mapping[str, Features],
    *,
    source: str = "toy",
    dataset: str = "rooms",
    rooms: Mapping[str, str] | None = None,
    content: str = "",
    row_of_slot: Sequence[int] | None = None,
    clips: Sequence[str] | None = None,
) -> FeatureStore:
    """Write a store; clips of the first array are its clips, in that order, and rooms of two by default.

    Args:
        place: folder.
        arrays: features of each array.
        source, dataset: names.
        rooms: clip id -> room.
        content: makes other digests of the clips.
        row_of_slot: of all arrays.
        clips: the clips to write, all by default.
    """
    first = next(iter(arrays.values()))
    rooms = rooms or {clip_id: f"room{int(clip_id[4:]) // 2}" for clip_id in first}
    entries = [ClipEntry(clip_id, rooms[clip_id], content + clip_id) for clip_id in first]
    specs = [spec(name, next(iter(maps.values())).shape, row_of_slot) for name, maps in arrays.items()]
    store = FeatureStore.create(
        place, source=source, dataset=dataset, fingerprint={"source": source}, clips=entries, arrays=specs
    )
    ids = list(first)
    written = [ids.index(clip_id) for clip_id in (ids if clips is None else clips)]
    write_clips(store, specs, lambda s, clip: torch.from_numpy(arrays[s.name][ids[clip]].astype(np.float32)), written)
    return FeatureStore.open(place)


def clip_ids(count: int) -> list[str]:
    return [f"clip{number:03d}" for number in range(count)]


def random_features(clips: Sequence[str], shape: Sequence[int], seed: int = 0) -> dict[str, np.ndarray]:
    """Independent Gaussian features plus a part that is the same for all rows of a clip."""
    found = {}
    for clip_id in clips:
        rng = np.random.default_rng([seed, *clip_id.encode()])
        found[clip_id] = rng.standard_normal(shape) + rng.standard_normal(shape[-1])
    return found


def layers(store: FeatureStore) -> list[Layer]:
    return [Layer(store, name) for name in store.arrays]
