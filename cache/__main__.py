"""`spatialprobe cache ls|inspect|verify|repair|seal|diff|prune|copy`: look after feature stores.

`spatialprobe cache similarity` needs more stages than this one: see `spatialprobe/similarity`.
"""

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


@dataclasses.dataclass(frozen=True)
class ListConfig(RootConfig):
    """Options of `ls`."""

    dataset: str | None = option(None, "only stores of this dataset")
    model: str | None = option(None, "only stores of this source, such as wan-t2v-14b or oracle-depth-rays")


@dataclasses.dataclass(frozen=True)
class StoreConfig(ListConfig):
    """Which store a verb works on."""

    store: str | None = option(None, "folder of the store, or the first digits of its fingerprint")


@dataclasses.dataclass(frozen=True)
class InspectConfig(StoreConfig):
    """Options of `inspect`."""

    histogram: str | None = option(None, "name of an array whose values to draw as a histogram")


@dataclasses.dataclass(frozen=True)
class DiffConfig(StoreConfig):
    """Options of `diff`."""

    other: str = option(help="the other store: its folder, or the first digits of its fingerprint")


@dataclasses.dataclass(frozen=True)
class PruneConfig(StoreConfig):
    """Options of `prune`."""

    arrays: list[str] = option(help="also remove these arrays with all their features", factory=list)
    apply: bool = option(False, "really remove; otherwise only print what would go")


@dataclasses.dataclass(frozen=True)
class CopyConfig(StoreConfig):
    """Options of `copy`."""

    to: str = option(help="artifact root of the copy; the folders below it are the same")
    arrays: list[str] = option(help="copy only these arrays", factory=list)
    compression: str | None = option(None, "codec of the copy", choices=["none", "zstd", "blosc-lz4"])
    move: bool = option(False, "remove the source once the copy has been verified")


def _ls(config: ListConfig) -> int:
    from cache import printing

    return printing.list_stores(config.root, config.dataset, config.model)


def _open(config: StoreConfig) -> FeatureStore:
    from cache import printing

    return printing.open_store(config.root, config.dataset, config.model, config.store)


def _inspect(config: InspectConfig) -> None:
    from cache import printing

    printing.inspect_store(_open(config), config.histogram)


def _verify(config: StoreConfig) -> int:
    from cache import printing

    return printing.verify_located(config.root, config.dataset, config.model, config.store)


def _repair(config: StoreConfig) -> None:
    from cache import printing

    printing.repair_located(config.root, config.dataset, config.model, config.store)


def _seal(config: StoreConfig) -> None:
    from cache import printing

    printing.seal_store(_open(config))


def _diff(config: DiffConfig) -> int:
    from cache import printing

    return printing.diff_stores(
        _open(config), printing.open_store(config.root, config.dataset, config.model, config.other)
    )


def _prune(config: PruneConfig) -> int:
    from cache import printing

    return printing.prune_located(config.root, config.dataset, config.model, config.store, config.arrays, config.apply)


def _copy(config: CopyConfig) -> None:
    from cache import printing

    printing.copy_store(_open(config), config.to, config.arrays or None, config.compression, config.move)


VERBS = (
    Verb("ls", "list the feature stores with coverage, size and age", ListConfig, _ls),
    Verb("inspect", "show one store: identity, arrays, statistics", InspectConfig, _inspect),
    Verb("verify", "read every byte again and compare it with what was written", StoreConfig, _verify),
    Verb("repair", "remove broken clips, so that extraction redoes just those", StoreConfig, _repair, writes=True),
    Verb("seal", "compact the commit records into manifest.parquet", StoreConfig, _seal, writes=True),
    Verb("diff", "show how two stores differ", DiffConfig, _diff),
    Verb("prune", "remove leftovers of killed jobs, empty stores, or whole arrays", PruneConfig, _prune, writes=True),
    Verb("copy", "copy, move or recompress a store with verification", CopyConfig, _copy, writes=True),
)

if __name__ == "__main__":
    sys.exit(main("cache", STAGES["cache"], VERBS))
