"""Where stores lie below the artifact root, and which one a name means."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cache.format import layout
from configs import commands
from configs.errors import MissingError, StoreError
from configs.files import features_path
from configs.identity import digest
from configs.names import close_sources, is_joined, read_source

FINGERPRINT_DIGITS = 12
"""Digits of the fingerprint's digest that name the folder."""


def store_path(root: str | os.PathLike[str] | None, dataset: str, source: str, fingerprint: Mapping[str, Any]) -> Path:
    """Return the folder of the store with a fingerprint: `<root>/features/<dataset>/<source>/<fp12>`."""
    return features_path(root, dataset, source) / digest(fingerprint)[:FINGERPRINT_DIGITS]


def find_stores(
    root: str | os.PathLike[str] | None, dataset: str | None = None, source: str | None = None, *, empty: bool = False
) -> list[Path]:
    """Return the folders of all stores below the artifact root, of one dataset or one source, sorted.

    Args:
        root: artifact root.
        dataset, source: names; None for any.
        empty: also stores without a single commit: what a job that failed or was killed may leave, and no candidate
            for anything but `spatialprobe cache ls` and `prune`.

    Raises:
        ConfigError: a name that can't be that of a folder.
    """
    features_path(root, dataset or "any", source)  # refuses names that lead elsewhere
    pattern = f"{dataset or '*'}/{source or '*'}/*/{layout.STORE}"
    found = sorted(path.parent for path in features_path(root).glob(pattern))
    return [path for path in found if empty or holds_commits(path)]


def holds_commits(store: Path) -> bool:
    """Return whether the folder of a store holds a commit record."""
    try:
        with os.scandir(store / layout.COMMITS) as names:
            return any(True for _ in names)
    except (FileNotFoundError, NotADirectoryError):
        return False


def locate_store(
    root: str | os.PathLike[str] | None, dataset: str | None, source: str | None, store: str | None = None
) -> Path:
    """Return the folder of the one store that is meant.

    Args:
        root: artifact root.
        dataset: name of the dataset, None for any.
        source: name of the source, None for any.
        store: the beginning of a fingerprint, or the folder itself; needed when several stores fit.

    Stores without commits are no candidates, unless `store` names one.

    Raises:
        MissingError: no store fits; StoreError: several do. Both list the candidates.
    """
    if store and (Path(store).expanduser() / layout.STORE).is_file():
        return Path(store).expanduser().absolute()
    candidates = find_stores(root, dataset, source)
    fitting = [path for path in candidates if store is None or path.name.startswith(store)]
    blank = [path for path in find_stores(root, dataset, source, empty=True) if path not in candidates]
    if store is not None and not fitting:
        fitting = [path for path in blank if path.name.startswith(store)]
    if len(fitting) == 1:
        return fitting[0]
    wanted = ", ".join(
        f"{key}={value}" for key, value in (("dataset", dataset), ("model", source), ("store", store)) if value
    )
    if not fitting:
        others = candidates or find_stores(root)
        raise MissingError(
            f"no feature store for {wanted or 'this root'}",
            found=_listing(others)
            if others
            else f"only stores without features: {_listing(blank)}"
            if blank
            else "no store at all",
            where=features_path(root),
            fix=_instead(root, dataset, source),
        )
    sources = {path.parent for path in fitting}
    raise StoreError(
        f"several feature stores fit {wanted or 'this root'}",
        found=_listing(fitting),
        where=features_path(root),
        fix=f"choose one with store=<first digits of its fingerprint>; `{commands.cache('diff')}` shows how they differ"
        if len(sources) == 1
        else "name the dataset and the model or source, or give store=<first digits of its fingerprint>",
    )


def _instead(root: str | os.PathLike[str] | None, dataset: str | None, source: str | None) -> str:
    """Return what to do without a store: look at the fusion, take a twin of the model that has one, or extract."""
    if source is not None and is_joined(source):
        view = commands.fusion("inspect", model=source, dataset=dataset, root=root)
        return f"sources that are joined while they are read have no store: {view}"
    there = [path.parent.name for path in find_stores(root, dataset)]
    if source is not None and (close := close_sources(source, there)):
        marked = [name + " (untrained)" * read_source(name).untrained for name in close]
        return f"name one that is there: {', '.join(marked)}"
    ask = commands.ANY
    return f"extract the features first: {commands.extract('run', model=ask, dataset=dataset or ask, root=root)}"


def locate_damaged(
    root: str | os.PathLike[str] | None, dataset: str | None, source: str | None, store: str | None
) -> Path:
    """Return the folder of a store that may have lost its `store.json`; else as `locate_store`."""
    if store:
        folder = Path(store).expanduser()
        if (folder / layout.BACKUP).is_dir() or (folder / layout.COMMITS).is_dir():
            return folder.absolute()
    return locate_store(root, dataset, source, store)


def _listing(paths: list[Path]) -> str:
    names = ["/".join(path.parts[-3:]) for path in paths]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
