"""In which order an epoch visits its samples: a function of (seed, epoch), split over ranks without padding."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


def epoch_order(count: int, seed: int, epoch: int, shuffle: bool) -> Indices:
    """Return the order of `count` samples in an epoch: a permutation drawn from (seed, epoch), or 0, 1, 2, ..."""
    if not shuffle:
        return np.arange(count, dtype=np.int64)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(count).astype(np.int64)


def rank_batches(order: Indices, batch_size: int, rank: int, world_size: int, drop_last: bool) -> list[Indices]:
    """Return the batches of one rank: every sample goes to exactly one rank, none is repeated or padded.

    Args:
        order: all samples of the epoch in order.
        batch_size: samples per batch; the last one may be smaller.
        rank, world_size: this process and how many there are.
        drop_last: leave out what does not fill a batch on every rank, so that all ranks take equally many steps.
    """
    if drop_last:
        order = order[: len(order) // (batch_size * world_size) * batch_size * world_size]
    share = order[rank::world_size]
    return [share[start : start + batch_size] for start in range(0, len(share), batch_size)]
