"""What the commands of `spatialprobe cache` do and print; the work itself is done in `cache.care`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cache.care import compare, copy, describe, prune, repair, seal, verify
from cache.format import layout
from cache.lease import LeaseBoard
from cache.locate import find_stores, holds_commits, locate_damaged, locate_store
from cache.storage.backend import Backend
from cache.storage.local import LocalBackend
from cache.store import FeatureStore
from configs import commands
from configs.console import Progress, format_bytes, print_table
from configs.errors import ConfigError, SpatialprobeError
from configs.files import features_path

MOST_LINES = 200
"""Differences that `diff` prints at most."""
MOST_KEYS = 50
"""Leftovers that `prune` lists at most."""


def open_store(root: str | None, dataset: str | None, source: str | None, store: str | None) -> FeatureStore:
    """Open the one store that is meant; arguments and errors as in `cache.locate.locate_store`."""
    return FeatureStore.open(locate_store(root, dataset, source, store))


def list_stores(root: str | None, dataset: str | None, source: str | None) -> int:
    """Print all stores with coverage, size and age; return the exit code, 1 if one can't be opened."""
    rows: list[list[object]] = []
    notes = []
    for path in find_stores(root, dataset, source, empty=True):
        try:
            store = FeatureStore.open(path)
            covered = store.coverage().values()
            share = f"{min(covered, default=0):.0%}"
            size, age = format_bytes(describe.total_bytes(store)), f"{describe.age_days(store):.1f}"
            flags = describe.flags(store)
            rows.append(
                [store.dataset, store.source, path.name, len(covered), len(store.clips), share, size, age, flags]
            )
        except SpatialprobeError as error:
            rows.append([path.parts[-3], path.parts[-2], path.name, None, None, "broken", None, None, ""])
            notes.append(f"{path}: {error.problem}")
    columns = ["dataset", "source", "store", "arrays", "clips", "coverage", "size", "days", "notes"]
    print_table(f"{len(rows)} feature stores", columns, rows, notes=notes)
    return 1 if notes else 0


def inspect_store(store: FeatureStore, histogram: str | None) -> None:
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
        print(f"\n{describe.draw(store, histogram)}")


def verify_store(backend: Backend) -> int:
    """Check every byte and print what is wrong; return the exit code."""
    total = len(backend.names(layout.COMMITS))
    with Progress(total, "verify", "commits") as bar:
        problems = verify.verify(backend, bar.advance)
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problems; `{commands.repair(backend.where)}` removes the broken clips")
        return 1
    print(f"{total} commit records, every byte as written")
    return 0


def verify_located(root: str | None, dataset: str | None, source: str | None, store: str | None) -> int:
    """Check the one store that is meant, without opening it; return the exit code."""
    return verify_store(LocalBackend(locate_store(root, dataset, source, store)))


def repair_located(root: str | None, dataset: str | None, source: str | None, store: str | None) -> None:
    """Repair the one store that is meant, which may have lost its `store.json`, and print what was done."""
    backend = LocalBackend(locate_damaged(root, dataset, source, store))
    done = repair.repair(backend, LeaseBoard(backend))
    print("\n".join(done) if done else "nothing to repair")


def seal_store(store: FeatureStore) -> None:
    """Compact the commit records of a store and print how many there are."""
    count = seal.seal(store.backend, store.board)
    print(f"{count} commit records compacted in {store.where}/{layout.MANIFEST}")


def diff_stores(first: FeatureStore, second: FeatureStore) -> int:
    """Print how two stores differ; return the exit code, 1 if they do."""
    lines = compare.compare(first, second)
    print("\n".join(lines[:MOST_LINES]) if lines else "no difference")
    if len(lines) > MOST_LINES:
        print(f"... and {len(lines) - MOST_LINES} more")
    return 1 if lines else 0


def prune_located(
    root: str | None, dataset: str | None, source: str | None, store: str | None, arrays: Sequence[str], apply: bool
) -> int:
    """Remove leftovers of one store or all that fit, and stores that hold nothing, or print what would go.

    Returns:
        The exit code: 1 if a store can't be opened.

    Raises:
        MissingError, StoreError: no store fits; `arrays` are given, and several do.
    """
    every = [] if arrays or store else find_stores(root, dataset, source, empty=True)
    broken = False
    for path in every or [locate_store(root, dataset, source, store)]:
        if len(every) > 1:
            print(path)
        try:
            if holds_commits(path):
                prune_store(FeatureStore.open(path), arrays, apply)
            else:
                _prune_empty(LocalBackend(path), apply)
        except SpatialprobeError as error:
            if len(every) < 2:
                raise
            print(error)
            broken = True
    if not apply:
        print("add apply=true to remove them")
    return 1 if broken else 0


def _prune_empty(backend: Backend, apply: bool) -> None:
    if apply:
        prune.discard(backend, LeaseBoard(backend))
    print("removed: it held no features" if apply else "would remove the whole store: it holds no features")


def prune_store(store: FeatureStore, arrays: Sequence[str], apply: bool) -> None:
    """Remove leftovers and whole arrays of a store, or print what would go."""
    if not apply:
        keys = list(prune.unreferenced(store.backend, store.board))
        size = sum(shard.bytes for name in arrays for _, shard in store.index.shards(store.array(name).name))
        more = [f"... and {len(keys) - MOST_KEYS} more"] if len(keys) > MOST_KEYS else []
        print("\n".join([*keys[:MOST_KEYS], *more]))
        features = f" and {format_bytes(size)} of {', '.join(arrays)}" if arrays else ""
        print(f"would remove {len(keys)} leftovers{features}")
        return
    if arrays:
        print(f"{prune.drop_arrays(store.backend, store.board, arrays)} shards of {', '.join(arrays)} removed")
    count, freed = prune.prune(store.backend, store.board)
    print(f"{count} leftovers removed, {format_bytes(freed)} freed")


def copy_store(store: FeatureStore, to: str, arrays: Sequence[str] | None, compression: str | None, move: bool) -> None:
    """Copy a store below another artifact root; with `move`, remove the source after the copy was verified.

    Raises:
        ConfigError: a part of a store can't be moved.
    """
    if move and arrays:
        command = commands.cache("prune", store=store.where, arrays=arrays, apply=True)
        raise ConfigError("move=true takes whole stores", fix=f"copy the arrays, then remove them by `{command}`")
    target = features_path(to, store.dataset, store.source) / Path(store.where).name
    with Progress(len(store.clips), "copy") as bar:
        copied = copy.copy_store(store, target, arrays=arrays, compression=compression, advance=bar.advance)
    print(f"copied and verified: {os.fspath(target)}, {format_bytes(describe.total_bytes(copied))}")
    if move:
        copy.remove_store(store, copied)
        print(f"removed: {store.where}")
