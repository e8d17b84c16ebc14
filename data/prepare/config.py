"""Options that `python -m data prepare` takes for every kind of dataset, and those that all importers share."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs.cli import RootConfig
from configs.errors import ConfigError, MissingError
from configs.options import option


@dataclasses.dataclass
class PrepareConfig(RootConfig):
    """Options that every kind of dataset has. A kind's own options dataclass derives from this and adds `name`."""

    dataset: str = option("rooms", "kind of dataset to prepare: rooms, scannet, dl3dv or video")
    workers: int = option(0, "processes; 0 = one per core", minimum=0)
    cluster: str = option("local", "where clips are made: local, or tcp://host:port of a running Dask scheduler")
    allowed_failures: int = option(0, "clips that may fail without failing the command", minimum=0)
    dry_run: bool = option(False, "make two clips in a temporary folder and forecast time and disk; keep nothing")
    select: float = option(0.1, "share of groups in the select split", minimum=0, maximum=1)
    report: float = option(0.1, "share of groups in the report split", minimum=0, maximum=1)
    plans: list[str] = option(
        help="evaluation view plans to freeze: <sampler>-<views>[-d<draws>][-s<seed>]",
        factory=lambda: ["paper-4", "paper-8", "random_start-4", "random_start-8"],
    )


@dataclasses.dataclass
class ImportConfig(PrepareConfig):
    """Options of every importer; derive from it and give `name` a default of your own."""

    raw: str = option(help="folder (or file) of the raw data; nothing outside it is read")
    name: str = option("imported", "name of the prepared dataset")

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
