"""What every raw format of the rooms shares: options, and what a run reports."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs.cli import RootConfig
from configs.errors import ConfigError
from configs.options import inline, option
from data.rooms.config import RoomsConfig


@dataclasses.dataclass(frozen=True)
class EmitConfig(RootConfig):
    """Options of `spatialprobe data emit` that all formats have; a format derives from this and adds its own.

    All knobs of the rooms apply, except that every frame is rendered with depth and instances, since raw recordings
    hold them all: `render` and `dense` don't matter.
    """

    rooms: RoomsConfig = inline(RoomsConfig)
    format: str = option(help="raw layout to write", choices=("scannet", "dl3dv"))
    out: str = option(help="folder to write; must not exist yet, or be empty")
    preset: str = option("nano", "named set of values in configs/dataset/rooms/")
    workers: int = option(0, "processes; 0 = one per core", minimum=0)

    def rendered(self) -> RoomsConfig:
        """Return the knobs of the rooms, with everything rendered."""
        return dataclasses.replace(self.rooms, render="all", dense="all")

    def folder(self) -> Path:
        """Return the absolute output folder.

        Raises:
            ConfigError: it is there already and holds something.
        """
        path = Path(self.out).expanduser().absolute()
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ConfigError("out= already exists", where=path, fix="delete it or choose another out=")
        return path


@dataclasses.dataclass(frozen=True)
class Emitted:
    """What a run wrote.

    Attributes:
        folder: the raw dataset.
        recordings: number of scans or scenes.
        next: the command that imports it.
    """

    folder: Path
    recordings: int
    next: str
