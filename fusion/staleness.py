"""Whether features still belong to the prepared dataset of their name: the one check between a store and its dataset.

A store keeps a digest of every clip that it has features of. A dataset that was removed and prepared again with other
parameters, or from other raw data, has other digests: its features would be those of other pictures.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.contents import StoreContents
from cache.format.clips import ClipEntry
from cache.format.header import load_header
from cache.locate import find_stores, locate_store
from cache.storage.local import LocalBackend
from cache.store import FeatureStore
from configs import commands
from configs.console import get_logger
from configs.errors import MissingError, StaleError
from configs.identity import differences
from configs.names import is_joined
from data.dataset.layout import read_identity
from data.dataset.reader import DatasetIndex, prepared_folder
from fusion.views.grids import refill_command

log = get_logger("fusion")
Root = str | os.PathLike[str] | None
SHOWN = 6
"""Parameters that a message names."""


def open_store(root: Root, dataset: str | None, source: str | None, store: str | None = None) -> FeatureStore:
    """Open the store that is meant, if its features are those of the dataset as it is prepared now.

    Args:
        root, dataset, source, store: see `cache.locate.locate_store`; of several stores that fit, the one that was made
            from the dataset as it is now is meant.

    Raises:
        MissingError, StoreError: see `cache.locate.locate_store`.
        StaleError: see `check_features`.
    """
    fitting = [] if store else find_stores(root, dataset, source)
    current = [path for path in fitting if _is_current(root, path)] if len(fitting) > 1 else []
    path = current[0] if len(current) == 1 else locate_store(root, dataset, source, store)
    return fresh(root, FeatureStore.open(path))


def fresh(root: Root, store: FeatureStore) -> FeatureStore:
    """Return a store whose features are those of its dataset; errors of `check_features`."""
    try:
        folder = prepared_folder(store.dataset, root)
    except MissingError:  # whoever needs the dataset too asks for it
        log.info("dataset %s is not here: whether %s has features of it is not checked", store.dataset, store.where)
        return store
    check_features(store, DatasetIndex(folder), root)
    return store


def check_features(store: StoreContents, dataset: DatasetIndex, root: Root = None) -> None:
    """Refuse a store with features of other frames than the dataset of its name has now.

    Clips that only one of the two knows are left alone: a dataset may grow, and a probe lists the clips that it lacks.

    Args:
        store: the features.
        dataset: the dataset of its name.
        root: artifact root, for the message.

    Raises:
        StaleError: the message says how many clips differ, which parameters of the dataset, and what to do.
    """
    changed = changed_clips(store.entries, dataset)
    if not changed:
        return
    why = parameter_changes(store.header.recorded.get("dataset"), dataset.made_from)
    same = store.fingerprint.get("dataset", {}).get("parameters") in (None, dataset.fingerprint)
    if not why:
        why = "files or raw data behind the same parameters" if same else "parameters that the store does not name"
    again = refill_command(store, root)
    if is_joined(store.source):
        again = commands.fusion("fuse", model=store.source, dataset=store.dataset, materialise=True, root=root)
    raise StaleError(
        f"the features of {store.source} were made from other clips than the dataset {dataset.name} has now",
        expected=f"features of {dataset.path} as it was prepared last",
        found=f"{len(changed)} of {len(store.entries)} clips differ ({', '.join(changed[:3])}"
        f"{', ...' if len(changed) > 3 else ''}); changed in the dataset: {why}",
        where=store.where,
        fix=f"rm -r {shlex.quote(store.where)} && {again}" if same else again,
    )


def changed_clips(entries: Sequence[ClipEntry], dataset: DatasetIndex) -> list[str]:
    """Return the clips that a dataset has too, but with other frames or ground truth, in order of the entries."""
    now = dict(zip(dataset.clips["clip_id"].to_list(), dataset.clips["clip_sha256"].to_list(), strict=True))
    return [entry.clip_id for entry in entries if now.get(entry.clip_id, entry.input_sha256) != entry.input_sha256]


def parameter_changes(made_from: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Return how a dataset differs from an earlier one of its name, such as `seed: 0 -> 5`; empty if it does not.

    Args:
        made_from: what the earlier one was made from (see `data.dataset.reader.DatasetIndex.made_from`); None if it is
            not known.
        now: the same of the dataset as it is now.
    """
    found = [] if made_from is None else differences(made_from, now)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(str(one).removeprefix("parameters.") for one in found[:SHOWN]) + more


def _is_current(root: Root, store: Path) -> bool:
    """Return whether a store was made from a dataset with the parameters that it has now."""
    header = load_header(LocalBackend(store))
    try:
        now = read_identity(prepared_folder(header.dataset, root))["parameters_sha256"]
    except MissingError:
        return False
    return bool(header.fingerprint.get("dataset", {}).get("parameters") == now)
