"""The rooms as a kind of dataset: presets, generator, and the report of ceilings that scores are read against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from configs import commands
from configs.cli import Layers
from configs.errors import malformed
from configs.files import read_sealed
from configs.options import inline, option
from data.dataset.clip import ClipSource
from data.dataset.tables import read_tables
from data.prepare.config import Kind, PrepareConfig, preset_layers
from data.rooms.config import RoomsConfig
from data.rooms.report import REPORT, print_report, store_report
from data.rooms.source import RoomsSource


@dataclasses.dataclass(frozen=True)
class PrepareRooms(PrepareConfig):
    """Options of `prepare kind=rooms`."""

    rooms: RoomsConfig = inline(RoomsConfig)
    preset: str = option("ci", "named set of values in configs/dataset/rooms/")

    def clip_source(self) -> ClipSource:
        """Return the generator."""
        return RoomsSource(self.rooms)


def _layers(overrides: Mapping[str, str]) -> Layers[PrepareRooms]:
    return preset_layers(PrepareRooms(), "rooms", "ci", overrides)


def _finish(dataset: Path) -> None:
    """Store what scores on these rooms are read against: ceilings per grid, what sampled queries see."""
    path = dataset / REPORT
    clips = len(read_tables(dataset)["index.parquet"])
    if not path.is_file() or read_sealed(path, fix=f"delete {path}").get("clips") != clips:
        store_report(dataset)


def _show(dataset: Path) -> None:
    path = dataset / REPORT
    if path.is_file():
        again = commands.data("prepare", kind="rooms", dataset=dataset.name)
        print()
        fix = f"delete {path} and run `{again}` again, with the options it was made with"
        content = read_sealed(path, fix=fix)
        with malformed("not a report of rooms", path, fix):
            print_report(content)


KIND = Kind(_layers, _finish, _show)
