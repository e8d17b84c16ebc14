"""The kinds of datasets that `python -m data prepare dataset=...` can make, each with its own options."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from configs.cli import Layers, RootConfig
from configs.errors import ConfigError
from configs.loader import closest, load_named
from configs.options import option
from data.clip import ClipSource
from data.rooms.config import RoomsConfig


@dataclasses.dataclass
class PrepareConfig(RootConfig):
    """Options that every kind of dataset has."""

    dataset: str = option("rooms", "kind of dataset to prepare")
    workers: int = option(0, "processes; 0 = one per core", minimum=0)
    allowed_failures: int = option(0, "clips that may fail without failing the command", minimum=0)
    select: float = option(0.1, "share of groups in the select split", minimum=0, maximum=1)
    report: float = option(0.1, "share of groups in the report split", minimum=0, maximum=1)
    plans: list[str] = option(
        help="evaluation view plans to freeze: <sampler>-<views>[-d<draws>][-s<seed>]",
        factory=lambda: ["paper-4", "paper-8", "random_start-4", "random_start-8"],
    )


@dataclasses.dataclass
class PrepareRooms(RoomsConfig, PrepareConfig):
    """Options of `prepare dataset=rooms`."""

    preset: str = option("ci", "named set of values in configs/dataset/rooms/")


@dataclasses.dataclass(frozen=True)
class Kind:
    """How to make one kind of dataset.

    Attributes:
        layers: from the raw arguments to the options dataclass, which has a key `name`, and the YAML values below them.
        source: from the filled options to the source of clips.
        finish: called with the dataset's folder once all clips are there.
        show: prints what `finish` found out, for `python -m data inspect`.
    """

    layers: Callable[[Mapping[str, str]], Layers]
    source: Callable[[Any], ClipSource]
    finish: Callable[[Path], None] = lambda dataset: None
    show: Callable[[Path], None] = lambda dataset: None


def _rooms_layers(overrides: Mapping[str, str]) -> Layers:
    preset = overrides.get("preset", "ci")
    return Layers(PrepareRooms, [load_named("dataset/rooms", preset, kind="preset")])


def _rooms_source(config: PrepareRooms) -> ClipSource:
    from data.rooms.source import RoomsSource

    return RoomsSource(_only(RoomsConfig, config))


def _rooms_report(dataset: Path) -> None:
    """Store what scores on these rooms are read against: ceilings per grid, what sampled views see."""
    from data.files import read_json
    from data.rooms.report import REPORT, store_report
    from data.tables import read_tables

    path = dataset / REPORT
    clips = len(read_tables(dataset)["index.parquet"])
    if not path.is_file() or read_json(path, fix=f"delete {path}").get("clips") != clips:
        store_report(dataset)


def _rooms_show(dataset: Path) -> None:
    from data.files import read_json
    from data.rooms.report import REPORT, print_report

    if (dataset / REPORT).is_file():
        print()
        print_report(read_json(dataset / REPORT, fix=f"delete {dataset / REPORT} and run prepare again"))


def _only(schema: type, config: Any) -> Any:
    """Take from the options of `prepare` those of the source itself."""
    return schema(**{field.name: getattr(config, field.name) for field in dataclasses.fields(schema)})


KINDS: dict[str, Kind] = {"rooms": Kind(_rooms_layers, _rooms_source, _rooms_report, _rooms_show)}


def kind_of(overrides: Mapping[str, str]) -> Kind:
    """Return the kind that `dataset=` names.

    Raises:
        ConfigError: there is no such kind.
    """
    name = overrides.get("dataset", "rooms")
    if name not in KINDS:
        raise ConfigError(f"unknown dataset {name!r}", fix=closest(name, KINDS))
    return KINDS[name]


def prepare_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the options of `python -m data prepare` for the given arguments."""
    return kind_of(overrides).layers(overrides)
