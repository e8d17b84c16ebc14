"""Options of `prepare` that all kinds share, and what a kind of dataset declares.

Each kind lives in a folder of its own, `data/<kind>/`, whose module `kind.py` exports `KIND: Kind`.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from configs.cli import Config, Layers, RootConfig
from configs.errors import ConfigError, MissingError
from configs.loader import load_named
from configs.options import option
from data.dataset.clip import ClipSource
from data.dataset.queries import AUTO


@dataclasses.dataclass(frozen=True)
class PrepareConfig(RootConfig, abc.ABC):
    """Options that every kind of dataset has. A kind derives from it and adds a part of its own, with `dataset`."""

    kind: str = option("rooms", "what to prepare it from: rooms, scannet, dl3dv or video")
    workers: int = option(0, "processes; 0 = one per core", minimum=0)
    cluster: str = option("local", "where clips are made: local, or tcp://host:port of a running Dask scheduler")
    allowed_failures: int = option(0, "clips that may fail without failing the command", minimum=0)
    dry_run: bool = option(False, "make two clips in a temporary folder and forecast time and disk; keep nothing")
    select: float = option(0.1, "share of groups in the select split", minimum=0, maximum=1)
    report: float = option(0.1, "share of groups in the report split", minimum=0, maximum=1)
    plans: list[str] = option(
        help="query plans to freeze, <sampler>-<queries>[-d<draws>][-s<seed>]; auto: paper and random_start with 4 and "
        "8 queries, as far as every clip can give so many",
        factory=lambda: [AUTO],
    )

    @abc.abstractmethod
    def clip_source(self) -> ClipSource:
        """Return the source of clips, which has the dataset's name.

        Raises:
            SpatialprobeError: options that contradict each other, or raw data that is wrong as a whole.
        """


@dataclasses.dataclass(frozen=True)
class ImportConfig(PrepareConfig):
    """Options of every importer."""

    raw: str = option(help="folder (or file) of the raw data; nothing outside it is read")

    def raw_path(self) -> Path:
        """Return the absolute path of the raw data.

        Raises:
            ConfigError: `raw` is empty.
            MissingError: there is nothing at `raw`.
        """
        if not self.raw.strip():
            raise ConfigError("raw= is empty", expected="a folder or file", fix="add raw=/path/to/the/raw/data")
        path = Path(self.raw).expanduser().absolute()
        if not path.exists():
            raise MissingError("no such raw data", where=path, fix="check the path given as raw=")
        return path


def _nothing(dataset: Path) -> None:
    return None


@dataclasses.dataclass(frozen=True)
class Kind:
    """How to make one kind of dataset.

    Attributes:
        layers: from the raw `key=value` arguments to the options and the YAML values below them.
        finish: called with the dataset's folder once all clips and tables are there; must be repeatable.
        show: prints what `finish` found out, for `spatialprobe data inspect`.
    """

    layers: Callable[[Mapping[str, str]], Layers[PrepareConfig]]
    finish: Callable[[Path], None] = _nothing
    show: Callable[[Path], None] = _nothing


def preset_layers(start: Config, group: str, default: str, overrides: Mapping[str, str]) -> Layers[Config]:
    """Return options above the values of `configs/dataset/<group>/<preset>.yaml`, where `preset=` chooses the file."""
    return Layers(start, [load_named(f"dataset/{group}", overrides.get("preset", default), kind="preset")])
