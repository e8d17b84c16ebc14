"""Summaries of a store: size, coverage, age, warnings, and the distribution of its values."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import numpy.typing as npt

from cache.format import layout
from cache.format.moments import Moments
from cache.source import FeatureSource
from cache.store import FeatureStore
from configs.console import format_seconds

MAX_ROWS = 64
"""Rows that `histogram` reads at most."""


@dataclasses.dataclass(frozen=True)
class ArraySummary:
    """One array of a store.

    Attributes:
        name, dtype, compression, shape: as in its spec; shape is (rows, height, width, channels).
        committed: clips that have it.
        bytes: of all its committed shards.
        absmax: largest absolute value.
        mean, std: over all cells and channels of the committed clips; NaN if there are none.
        outliers: channels whose largest absolute value exceeds 100 times the median channel's.
    """

    name: str
    dtype: str
    compression: str
    shape: tuple[int, int, int, int]
    committed: int
    bytes: int
    absmax: float
    mean: float
    std: float
    outliers: int


def summarise(store: FeatureStore, name: str) -> ArraySummary:
    """Return the summary of one array; works on unfinished stores."""
    spec = store.array(name)
    shards = [shard for _, shard in store.index.shards(name)]
    moments = store.moments(name, store.committed(name))
    mean, std = spread(moments)
    typical = float(np.median(moments.absmax))
    return ArraySummary(
        name=name,
        dtype=spec.dtype,
        compression=spec.compression,
        shape=spec.shape,
        committed=len(shards),
        bytes=sum(shard.bytes for shard in shards),
        absmax=max((shard.absmax for shard in shards), default=0.0),
        mean=mean,
        std=std,
        outliers=int(np.sum(moments.absmax > 100 * typical)) if typical > 0 else 0,
    )


def spread(moments: Moments) -> tuple[float, float]:
    """Return mean and standard deviation over all cells and channels; NaN if there are none."""
    if not moments.count:
        return float("nan"), float("nan")
    mean = float(moments.mean.mean())
    return mean, float(np.sqrt(np.mean(moments.variance + (moments.mean - mean) ** 2)))


def histogram(store: FeatureSource, name: str, edges: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return how many values fall between edges, from at most 64 rows spread evenly over the committed clips."""
    spec = store.array(name)
    rows = [(clip_id, row) for clip_id in store.committed(name) for row in range(spec.rows)]
    counts = np.zeros(len(edges) - 1, np.int64)
    for place in np.linspace(0, len(rows) - 1, min(len(rows), MAX_ROWS)).astype(int):
        clip_id, row = rows[place]
        features = store.read([(clip_id, name, (row,))])[0]
        values = features.float().numpy().reshape(-1)
        counts += np.histogram(values, edges)[0]
    return counts


def total_bytes(store: FeatureStore) -> int:
    """Return the bytes of all committed shards."""
    return sum(shard.bytes for name in store.arrays for _, shard in store.index.shards(name))


def age_days(store: FeatureStore) -> float:
    """Return the days since the store was created or grown; wrong by as much as the two clocks differ."""
    return (time.time() - (store.backend.modified(layout.STORE) or time.time())) / 86400


def flags(store: FeatureStore) -> str:
    """Return warnings about a store for one cell of a table: no features, random weights, quarantined clips, leases."""
    words = []
    if not store.index.counts():
        words.append("empty")
    if any(spec.extra.get("untrained") for spec in store.arrays.values()):
        words.append("untrained")
    aside = len(store.quarantined())
    if aside:
        words.append(f"{aside} quarantined")
    return ", ".join(words + leases(store))


def leases(store: FeatureStore) -> list[str]:
    """Return who holds leases of a store: working, dead, or on another machine and silent for so long.

    The silence is wrong by as much as the clocks of this machine and of the file system differ.
    """
    counts: dict[str, int] = {}
    for key, holder in store.board.holders():
        lives = None if holder is None else holder.lives()
        who = "an unknown process" if holder is None else f"process {holder.pid} on {holder.host}"
        if lives is None:
            since = store.backend.modified(key)
            who += f", silent for {format_seconds(max(0.0, time.time() - (since or time.time())))}"
        state = "dead lease" if lives is False else "lease"
        text = f"{state} of {who}"
        counts[text] = counts.get(text, 0) + 1
    return [text if count == 1 else f"{count} times {text}" for text, count in counts.items()]


def draw(store: FeatureSource, name: str) -> str:
    """Return the distribution of the values of one array as text, a line with a bar per bin."""
    centre, std = spread(store.moments(name, store.committed(name)))
    centre, std = (centre, max(std, 1e-30)) if np.isfinite(std) else (0.0, 1.0)
    edges = centre + std * np.array([-np.inf, *np.arange(-4, 4.5, 0.5), np.inf])
    counts = histogram(store, name, edges)
    largest = max(int(counts.max()), 1)
    lines = [
        f"  {low:>10.3g} to {high:>10.3g}  {count:>12d}  {'#' * round(40 * count / largest)}"
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]
    return "\n".join([f"{name}: {int(counts.sum())} values", *lines])
