"""What the command line prints and asks of a store; the work itself is in the modules called here."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cache.care import describe
from cache.care.forecast import format_bytes
from cache.format import layout
from cache.lease import LeaseBoard
from cache.source import FeatureSource
from cache.storage.backend import Backend
from cache.store import FeatureStore
from configs.console import print_table, progress
from configs.errors import ConfigError
from configs.paths import features_path


def flags(store: FeatureStore) -> str:
    """Return what a table should not hide about a store: random weights, clips set aside."""
    words = []
    if any(spec.extra.get("untrained") for spec in store.arrays.values()):
        words.append("untrained")
    aside = len(store.quarantined())
    if aside:
        words.append(f"{aside} quarantined")
    return ", ".join(words)


def inspect(store: FeatureStore, histogram: str | None) -> None:
    """Print identity, arrays and statistics of one store; works while it is being written."""
    print(f"{store.where}\n{store.source} on {store.dataset}, {len(store.clips)} clips")
    for key, value in sorted(store.fingerprint.items()):
        print(f"  {key}: {value}")
    rows = []
    for name in store.arrays:
        summary = describe.summarise(store, name)
        shape = "x".join(map(str, summary.shape))
        share = f"{summary.committed}/{len(store.clips)}"
        size = format_bytes(summary.bytes)
        values = (summary.mean, summary.std, summary.absmax, summary.outliers)
        rows.append([name, shape, summary.dtype, summary.compression, share, size, *values])
    columns = ["array", "shape", "dtype", "codec", "clips", "size", "mean", "std", "absmax", "outlier channels"]
    print_table("", columns, rows)
    for clip_id, reason in store.quarantined().items():
        print(f"quarantined: {clip_id}: {reason}")
    if histogram is not None:
        draw(store, histogram)


def draw(store: FeatureSource, name: str) -> None:
    """Print the distribution of the values of one array as bars."""
    centre, std = describe.spread(store.moments(name, store.committed(name)))
    centre, spread = (centre, max(std, 1e-30)) if np.isfinite(std) else (0.0, 1.0)
    edges = centre + spread * np.array([-np.inf, *np.arange(-4, 4.5, 0.5), np.inf])
    counts = describe.histogram(store, name, edges)
    print(f"\n{name}: {int(counts.sum())} values")
    for low, high, count, bar in zip(edges[:-1], edges[1:], counts, describe.bars(list(counts)), strict=True):
        print(f"  {low:>10.3g} to {high:>10.3g}  {count:>12d}  {bar}")


def verify(backend: Backend) -> int:
    """Check every byte and print what is wrong; return the exit code."""
    from cache.care.verify import verify as check

    total = len(backend.names(layout.COMMITS))
    with progress(total, "verify", "commits") as bar:
        problems = check(backend, bar.advance)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problems; `python -m cache repair store={backend.where}` takes the broken clips out")
        return 1
    print(f"{total} commit records, every byte as written")
    return 0


def repair(backend: Backend) -> int:
    """Mend a store and print what was done; return the exit code."""
    from cache.care.repair import repair as mend

    done = mend(backend, LeaseBoard(backend))
    print("\n".join(done) if done else "nothing to repair")
    return 0


def prune(store: FeatureStore, arrays: Sequence[str], apply: bool) -> None:
    """Remove leftovers and whole arrays, or say what would go."""
    from cache.care.prune import drop_arrays, unreferenced
    from cache.care.prune import prune as sweep

    if not apply:
        keys = list(unreferenced(store.backend, store.board))
        size = sum(shard.bytes for name in arrays for _, shard in store.index.shards(store.array(name).name))
        print("\n".join(keys[:50]) + ("" if len(keys) <= 50 else f"\n... and {len(keys) - 50} more"))
        print(
            f"would remove {len(keys)} leftovers"
            + (f" and {format_bytes(size)} of {', '.join(arrays)}" if arrays else "")
        )
        print("add apply=true to remove them")
        return
    if arrays:
        print(f"{drop_arrays(store.backend, store.board, arrays)} shards of {', '.join(arrays)} removed")
    count, freed = sweep(store.backend, store.board)
    print(f"{count} leftovers removed, {format_bytes(freed)} freed")


def copy(store: FeatureStore, to: str, arrays: Sequence[str] | None, compression: str | None, move: bool) -> None:
    """Copy a store below another artifact root; with `move`, remove the source after the copy was verified."""
    from cache.care.copying import copy_store
    from cache.care.prune import remove_store

    if move and arrays:
        raise ConfigError("move=true takes whole stores", fix="copy the arrays, then `prune arrays=...` on the source")
    target = features_path(to, store.dataset, store.source) / Path(store.where).name
    with progress(len(store.clips), "copy") as bar:
        copied = copy_store(store, target, arrays=arrays, compression=compression, advance=bar.advance)
    print(f"copied and verified: {os.fspath(target)}, {format_bytes(describe.total_bytes(copied))}")
    if move:
        remove_store(store, copied)
        print(f"removed: {store.where}")
