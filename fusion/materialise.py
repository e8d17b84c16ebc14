"""A view written out as a feature store, through the ordinary writer: for slow disks, or to give it away."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from cache.care.forecast import check_free_space
from cache.care.seal import seal_complete
from cache.locate import store_path
from cache.store import FeatureStore
from configs.errors import StoreError
from fusion.views.view import FusedView

PATIENCE = 600.0
"""Seconds to wait for clips that other processes have claimed."""


def materialise(
    view: FusedView, root: str | os.PathLike[str] | None, advance: Callable[[int], None] = lambda count: None
) -> FeatureStore:
    """Write all clips that the view can read and the store lacks; if it is killed, the next call continues.

    Any number of processes may do so at once: a clip is claimed before it is computed.

    Args:
        view: what to write.
        root: artifact root.
        advance: called with 1 after each clip, for progress.

    Raises:
        StorageError: the disk is too small or refuses.
        StoreError: other processes hold clips for too long.
        StaleError: the store was made with other array properties.
    """
    path = store_path(root, view.dataset, view.source, view.fingerprint)
    arrays = list(view.arrays.values())
    if not path.is_dir():
        check_free_space(path, arrays, len(view.clips))
    store = FeatureStore.create(
        path,
        source=view.source,
        dataset=view.dataset,
        fingerprint=view.fingerprint,
        recorded={"parents": {parent.source: parent.where for parent in view.parents}, **_dataset(view)},
        clips=view.entries,
        arrays=arrays,
    )
    unreadable = set(view.missing(quarantined=True))
    give_up = time.monotonic() + PATIENCE
    while todo := [c for c in store.missing(view.arrays, quarantined=True) if c not in unreadable]:
        written = sum(_write(view, store, clip_id, advance) for clip_id in todo)
        store.refresh()
        if written:
            give_up = time.monotonic() + PATIENCE
        elif time.monotonic() > give_up:
            raise StoreError(
                "other processes have held the remaining clips for too long",
                found=f"{len(todo)} clips",
                where=store.where,
                fix="run the same command again",
            )
        else:
            time.sleep(0.05)
    seal_complete(store)
    return store


def _dataset(view: FusedView) -> dict[str, Any]:
    """Return what the dataset was made from, as the parents' stores record it."""
    recorded = [parent.header.recorded for parent in view.parents if isinstance(parent, FeatureStore)]
    return next(({"dataset": facts["dataset"]} for facts in recorded if "dataset" in facts), {})


def _write(view: FusedView, store: FeatureStore, clip_id: str, advance: Callable[[int], None]) -> bool:
    index = store.clip_index(clip_id)
    lease = store.claim(clip_id, view.arrays)
    if lease is None:
        return False
    with store.writer(clip_id, lease) as writer:
        for name, spec in view.arrays.items():
            if store.index.shard(index, name) is None:
                writer.put(name, view.read([(clip_id, name, range(spec.rows))])[0])
    advance(1)
    return True
