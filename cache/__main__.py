"""`spatialprobe cache ls|inspect|verify|repair|seal|diff|prune|copy`: look after feature stores."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

if __name__ == "__main__":  # files of the working directory don't take the place of the project's
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from typing import TYPE_CHECKING

from configs.cli import RootConfig, Verb, main
from configs.commands import STAGES
from configs.options import option

if TYPE_CHECKING:
    from cache.store import FeatureStore


@dataclasses.dataclass
class ListConfig(RootConfig):
    """Options of `ls`."""

    dataset: str | None = option(None, "only stores of this dataset")
    source: str | None = option(None, "only stores of this source")


@dataclasses.dataclass
class StoreConfig(ListConfig):
    """Which store a verb works on."""

    store: str | None = option(None, "folder of the store, or the first digits of its fingerprint")


@dataclasses.dataclass
class InspectConfig(StoreConfig):
    """Options of `inspect`."""

    histogram: str | None = option(None, "name of an array whose values to draw as a histogram")


@dataclasses.dataclass
class DiffConfig(StoreConfig):
    """Options of `diff`."""

    other: str = option(help="the other store: its folder, or the first digits of its fingerprint")


@dataclasses.dataclass
class PruneConfig(StoreConfig):
    """Options of `prune`."""

    arrays: list[str] = option(help="also remove these arrays with all their features", factory=list)
    apply: bool = option(False, "really remove; otherwise only say what would go")


@dataclasses.dataclass
class CopyConfig(StoreConfig):
    """Options of `copy`."""

    to: str = option(help="artifact root of the copy; the folders below it are the same")
    arrays: list[str] = option(help="copy only these arrays", factory=list)
    compression: str | None = option(None, "codec of the copy", choices=["none", "zstd", "blosc-lz4"])
    move: bool = option(False, "remove the source once the copy has been verified")


def _open(config: StoreConfig, store: str | None = None) -> FeatureStore:
    from cache.locate import locate_store
    from cache.store import FeatureStore

    return FeatureStore.open(locate_store(config.root, config.dataset, config.source, store or config.store))


def _ls(config: ListConfig) -> int:
    from cache import printing as tools
    from cache.care import describe
    from cache.care.forecast import format_bytes
    from cache.locate import find_stores
    from cache.store import FeatureStore
    from cache.views import ENDING, find_views, read_view
    from configs.console import print_table
    from configs.errors import SpatialprobeError

    rows: list[list[object]] = []
    notes = []
    for path in find_stores(config.root, config.dataset, config.source):
        try:
            store = FeatureStore.open(path)
            covered = store.coverage().values()
            share = f"{min(covered, default=0):.0%}"
            size, age = format_bytes(describe.total_bytes(store)), f"{describe.age_days(store):.1f}"
            flags = tools.flags(store)
            rows.append(
                [store.dataset, store.source, path.name, len(covered), len(store.clips), share, size, age, flags]
            )
        except SpatialprobeError as error:
            rows.append([path.parts[-3], path.parts[-2], path.name, None, None, "broken", None, None, ""])
            notes.append(f"{path}: {error.problem}")
    stores = len(rows)
    for path in find_views(config.root, config.dataset, config.source):
        try:
            view = read_view(path)
            parents = [f"{parent} (gone)" if parent in view.gone else parent for parent in view.parents]
            flags = f"of {', '.join(parents)}"
            rows.append([view.dataset, view.source, view.short, None, None, "view", None, None, flags])
        except SpatialprobeError as error:
            rows.append([*path.parts[-3:-1], path.name.removesuffix(ENDING), None, None, "broken", None, None, ""])
            notes.append(f"{path}: {error.problem}")
    columns = ["dataset", "source", "store", "arrays", "clips", "coverage", "size", "days", "notes"]
    title = f"{stores} feature stores" + (f", {len(rows) - stores} fused views" if len(rows) > stores else "")
    print_table(title, columns, rows, notes=notes)
    return 1 if notes else 0


def _view(verb: str, config: StoreConfig, *more: str) -> int | None:
    """Let the fusion stage do what concerns a view without features of its own; None for stores."""
    from cache.locate import find_stores
    from cache.views import find_views, hand_over, is_joined

    if config.source is None or not is_joined(config.source):
        return None
    if any(
        path.name.startswith(config.store or "") for path in find_stores(config.root, config.dataset, config.source)
    ):
        return None
    views = find_views(config.root, config.dataset, config.source)
    dataset = config.dataset or (views[0].parts[-3] if views else None)
    return hand_over(verb, config.root, dataset, config.source, config.store, *more)


def _inspect(config: InspectConfig) -> int:
    from cache import printing as tools

    more = [] if config.histogram is None else [f"histogram={config.histogram}"]
    if (code := _view("inspect", config, *more)) is not None:
        return code
    tools.inspect(_open(config), config.histogram)
    return 0


def _verify(config: StoreConfig) -> int:
    from cache import printing as tools
    from cache.locate import locate_store
    from cache.storage.local import LocalBackend

    if (code := _view("verify", config)) is not None:
        return code
    return tools.verify(LocalBackend(locate_store(config.root, config.dataset, config.source, config.store)))


def _repair(config: StoreConfig) -> int:
    from cache import printing as tools
    from cache.locate import locate_damaged
    from cache.storage.local import LocalBackend

    return tools.repair(LocalBackend(locate_damaged(config.root, config.dataset, config.source, config.store)))


def _seal(config: StoreConfig) -> None:
    from cache.care.seal import seal

    store = _open(config)
    print(f"{seal(store.backend, store.board)} commit records compacted in {store.where}/manifest.parquet")


def _diff(config: DiffConfig) -> int:
    from cache.care.compare import compare

    lines = compare(_open(config), _open(config, config.other))
    print("\n".join(lines[:200]) if lines else "no difference")
    if len(lines) > 200:
        print(f"... and {len(lines) - 200} more")
    return 1 if lines else 0


def _prune(config: PruneConfig) -> None:
    from cache import printing as tools

    tools.prune(_open(config), config.arrays, config.apply)


def _copy(config: CopyConfig) -> None:
    from cache import printing as tools

    tools.copy(_open(config), config.to, config.arrays or None, config.compression, config.move)


VERBS = [
    Verb("ls", "list the feature stores with coverage, size and age, and the fused views of them", ListConfig, _ls),
    Verb("inspect", "show one store or fused view: identity, arrays, statistics", InspectConfig, _inspect),
    Verb("verify", "read every byte again and compare it with what was written", StoreConfig, _verify),
    Verb("repair", "take broken clips out, so that extraction redoes just those", StoreConfig, _repair, writes=True),
    Verb("seal", "compact the commit records into manifest.parquet", StoreConfig, _seal, writes=True),
    Verb("diff", "show how two stores differ", DiffConfig, _diff),
    Verb("prune", "remove leftovers of killed jobs, or whole arrays", PruneConfig, _prune, writes=True),
    Verb("copy", "copy, move or recompress a store with verification", CopyConfig, _copy, writes=True),
]

if __name__ == "__main__":
    sys.exit(main("cache", STAGES["cache"], VERBS))
