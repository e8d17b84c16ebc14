"""Channel statistics of sources that keep none: read, and added up exactly as a store adds up its own."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cache.format.moments import Moments, MomentsBuilder, merged
from cache.source import FeatureSource


def computed_moments(source: FeatureSource, array: str, clip_ids: Iterable[str]) -> Moments:
    """Return the statistics of an array over some clips from its values in the stored dtype.

    Clip by clip and merged in order of the clips, so that a store with the same values gives the same bits.

    Raises:
        MissingError: an unknown or uncommitted clip.
    """
    numbers = sorted({source.clip_index(clip_id) for clip_id in clip_ids})
    clips = source.clips
    return merged((_clip(source, array, clips[number]) for number in numbers), source.array(array).channels)


def _clip(source: FeatureSource, array: str, clip_id: str) -> Moments:
    import torch

    spec = source.array(array)
    builder = MomentsBuilder(spec.channels, spec.dtype)
    for row in source.read([(clip_id, array, range(spec.rows))])[0]:
        builder.add(np.asarray(row.reshape(-1).view(torch.uint8).numpy(), np.uint8))
    return builder.moments
