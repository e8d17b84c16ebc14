"""Stores made in a test without any backbone: features from ground truth, from coordinates, or from noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.locate import store_path
from cache.store import FeatureStore
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.reader import PreparedDataset
from extract.adapter import ClipInput
from extract.controls import oracle, position
from extract.noise import SeededNoise
from tests.stores import write_clips

Maps = Callable[[PreparedDataset, str], np.ndarray]
GROUPS = ("colour", "normal", "depth", "rays", "code", "classes")


def clip_input(dataset: PreparedDataset, clip_id: str) -> ClipInput:
    """What a reader would hand over, without frames."""
    legal = list(dataset.query_positions(clip_id))
    legal += [legal[-1]] * (len(QUERY_POSITIONS) - len(legal))
    cameras = dataset.cameras(clip_id, legal)
    table = dataset.instances(clip_id)
    classes: np.ndarray = np.full(int(table["instance"].max() if len(table) else 0) + 1, -1)
    classes[table["instance"].to_numpy(int)] = table["class_index"].to_numpy(int)
    truth: dict[str, np.ndarray] = {
        "depth": dataset.depth(clip_id, legal),
        "instance": dataset.instance_maps(clip_id, legal),
        "intrinsics": cameras.intrinsics,
        "cam2world": cameras.cam2world,
        "class_of_instance": classes,
    }
    frames = dataset.frames(clip_id, legal)
    return ClipInput(clip_id=clip_id, frames=frames, length=len(legal), ground_truth=truth)


def oracle_maps(groups: Sequence[str] = GROUPS, grid: tuple[int, int] = (16, 16), noise: float = 0.0) -> Maps:
    def make(dataset: PreparedDataset, clip_id: str) -> np.ndarray:
        return oracle.compute(clip_input(dataset, clip_id), grid, groups, noise, SeededNoise(0))

    return make


def position_maps(grid: tuple[int, int] = (16, 16)) -> Maps:
    def make(dataset: PreparedDataset, clip_id: str) -> np.ndarray:
        return position.compute(ClipInput(clip_id=clip_id, frames=np.zeros((20, 1, 1, 3), np.uint8), length=20), grid)

    return make


def noise_maps(channels: int = 8, grid: tuple[int, int] = (4, 4)) -> Maps:
    def make(dataset: PreparedDataset, clip_id: str) -> np.ndarray:
        seed = sum(map(ord, clip_id))
        return np.random.default_rng(seed).standard_normal((20, *grid, channels)).astype(np.float32)

    return make


def make_store(
    root: Path,
    dataset: PreparedDataset,
    source: str,
    maps: dict[int | None, Maps],
    clips: Sequence[str] | None = None,
    name: str | None = None,
    compression: str = "none",
) -> FeatureStore:
    """Write a store with one array per block below an artifact root."""
    chosen = list(dataset.clips["clip_id"]) if clips is None else list(clips)
    specs, entries = (
        [],
        [ClipEntry(c, str(dataset.clips.at[c, "group_id"]), str(dataset.clips.at[c, "clip_sha256"])) for c in chosen],
    )
    for block, make in maps.items():
        first = make(dataset, chosen[0])
        specs.append(
            ArraySpec(
                name="",
                tap=source,
                block=block,
                blocks_total=None if block is None else max(b or 0 for b in maps),
                noise_level=None,
                grid=first.shape[1:3],
                rows=len(QUERY_POSITIONS),
                channels=first.shape[3],
                dtype="float32",
                row_of_slot=tuple(range(len(QUERY_POSITIONS))),
                source_frames=tuple((p,) for p in QUERY_POSITIONS),
                compression=compression,
            )
        )
    fingerprint = {"source": source, "maps": len(maps)}
    label = name or dataset.name
    store = FeatureStore.create(
        store_path(root, label, source, fingerprint),
        source=source,
        dataset=label,
        fingerprint=fingerprint,
        clips=entries,
        arrays=specs,
    )
    made = {spec.name: make for spec, make in zip(specs, maps.values(), strict=True)}
    write_clips(store, specs, lambda spec, clip: torch.from_numpy(made[spec.name](dataset, chosen[clip])))
    return FeatureStore.open(store.where)
