"""Synthetic features for tests, benchmarks and demonstrations: heavy-tailed channels and a few massive activations."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.storage.backend import Backend
from cache.store import FeatureStore

if TYPE_CHECKING:
    import torch

FINGERPRINT: Mapping[str, Any] = {"model": "toy", "revision": "abc", "prompt": "", "frames": 81, "weights": "synthetic"}
"""Fingerprint of synthetic stores."""

SLOTS = 20
"""Query slots of a clip."""


def make_spec(
    name: str = "dit.b21.s0502.3x5",
    *,
    rows: int = 4,
    grid: tuple[int, int] = (3, 5),
    channels: int = 8,
    dtype: str = "bfloat16",
    compression: str = "none",
) -> ArraySpec:
    """Return the description of a small array whose rows share the query slots evenly."""
    return ArraySpec(
        name=name,
        tap="dit",
        block=21,
        blocks_total=30,
        noise_level=0.502,
        grid=grid,
        rows=rows,
        channels=channels,
        dtype=dtype,
        row_of_slot=tuple(slot * rows // SLOTS for slot in range(SLOTS)),
        source_frames=tuple(tuple(range(4 * row, 4 * row + 4)) for row in range(rows)),
        pooling="adaptive",
        compression=compression,
    )


def make_features(spec: ArraySpec, seed: int) -> torch.Tensor:
    """Return (rows, height, width, channels) float32: a smooth field, channels of very different scales and means.

    One token carries activations of several thousand, as some backbones' do.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    channels = spec.channels
    smooth = torch.randn(spec.rows, 1, 1, channels, generator=generator)
    features = smooth + 0.5 * torch.randn(spec.shape, generator=generator)
    features *= torch.exp(torch.randn(channels, generator=generator))
    features += 3 * torch.randn(channels, generator=generator)
    features[0, 0, 0, : max(1, channels // 500)] = 3000.0
    return features


def make_clips(count: int) -> list[ClipEntry]:
    """Return clips in rooms of two."""
    return [ClipEntry(f"scene{i:04d}", f"room{i // 2}", f"{i:064x}") for i in range(count)]


def make_store(
    place: str | os.PathLike[str] | Backend,
    specs: Sequence[ArraySpec],
    clips: int = 3,
    *,
    written: Sequence[int] | None = None,
    fingerprint: Mapping[str, Any] = FINGERPRINT,
) -> FeatureStore:
    """Return a store in which clip i holds `make_features(spec, i)` in every array.

    Args:
        place: folder or backend.
        specs: the arrays.
        clips: how many clips.
        written: indexes of the clips to write; all by default.
        fingerprint: identity of the store.
    """
    store = FeatureStore.create(
        place,
        source="toy",
        dataset="rooms",
        fingerprint=fingerprint,
        recorded={"device": "cpu"},
        clips=make_clips(clips),
        arrays=specs,
    )
    write_clips(store, specs, make_features, written)
    return store


def write_clips(
    store: FeatureStore,
    specs: Sequence[ArraySpec],
    features: Callable[[ArraySpec, int], torch.Tensor],
    written: Sequence[int] | None = None,
) -> None:
    """Write clips of a store.

    Args:
        store: a store that has the arrays.
        specs: the arrays to write.
        features: (rows, height, width, channels) of an array and the number of a clip.
        written: numbers of the clips; all by default.
    """
    for clip in range(len(store.clips)) if written is None else written:
        with store.writer(store.clips[clip]) as writer:
            for spec in specs:
                writer.put(spec.name, features(spec, clip))


def fill_store(store: FeatureStore) -> int:
    """Write all missing clips of a synthetic store as one of any number of jobs would; return how many.

    Waits for clips that other jobs hold, and takes them over when those die.
    """
    written = 0
    while missing := store.missing():
        before = written
        for clip_id in missing:
            absent = [name for name in store.arrays if store.index.shard(store.clip_index(clip_id), name) is None]
            lease = store.claim(clip_id, absent)
            if lease is None:
                continue
            with store.writer(clip_id, lease) as writer:
                for name in absent:
                    if store.index.shard(store.clip_index(clip_id), name) is None:
                        writer.put(name, make_features(store.array(name), store.clip_index(clip_id)))
            written += 1
        store.index.refresh()
        if written == before:
            time.sleep(0.01)
    return written
