"""Passes over whole stores with Dask: lazy arrays, and statistics after resampling. Never used while training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cache.format.moments import Moments, MomentsBuilder, merged
from cache.source import FeatureSource

if TYPE_CHECKING:
    import dask.array

Transform = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
"""Maps the features of one clip (rows, height, width, channels) to others of any shape (..., channels)."""


def as_dask(store: FeatureSource, array: str, clip_ids: Sequence[str]) -> dask.array.Array:
    """Return clips of an array as a lazy float32 Dask array (clips, rows, height, width, channels), a clip per chunk.

    Raises:
        MissingError: a clip is not committed.
    """
    import dask
    import dask.array as da

    spec = store.array(array)
    for clip_id in clip_ids:
        store.moments(array, [clip_id])
    blocks = [
        da.from_delayed(dask.delayed(_load)(store, clip_id, array)[None], (1, *spec.shape), np.float32)
        for clip_id in clip_ids
    ]
    return da.concatenate(blocks)


def channel_statistics(
    store: FeatureSource, array: str, clip_ids: Sequence[str], transform: Transform | None = None
) -> tuple[int, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return (count, mean, variance) per channel in float64 over some clips, after a transform such as resampling.

    Without a transform `FeatureStore.statistics` gives the same without reading the features.
    """
    import dask

    parts = dask.compute(*[dask.delayed(_clip_moments)(store, clip_id, array, transform) for clip_id in clip_ids])
    total = merged(parts, len(parts[0].mean))
    return total.count, total.mean, total.variance


def _load(store: FeatureSource, clip_id: str, array: str) -> npt.NDArray[np.float32]:
    features: Any = store.read([(clip_id, array, range(store.array(array).rows))])[0]
    return np.asarray(features.float().numpy(), np.float32)


def _clip_moments(store: FeatureSource, clip_id: str, array: str, transform: Transform | None) -> Moments:
    features = _load(store, clip_id, array)
    if transform is not None:
        features = transform(features)
    cells = np.ascontiguousarray(features.reshape(-1, features.shape[-1]), np.float32)
    builder = MomentsBuilder(cells.shape[1], "float32")
    builder.add(cells.reshape(-1).view(np.uint8))
    return builder.moments
