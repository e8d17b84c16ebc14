"""The rooms as a raw ScanNet release: `.sens`, exported folders, annotations, labels table, split lists, rescans."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from configs import commands
from configs.console import Progress
from configs.errors import ConfigError
from configs.files import atomic_folder
from configs.jobs import run_jobs
from configs.options import option
from data.emit.config import EmitConfig, Emitted
from data.emit.scannet_scan import as_scan, labels_table, split_lists, write_scan
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from data.scannet.labels import FILE_NAME


@dataclasses.dataclass(frozen=True)
class EmitScannet(EmitConfig):
    """Options of `spatialprobe data emit format=scannet`."""

    layout: str = option("both", "how frames are stored", choices=("both", "sens", "exported"))
    rescans: int = option(1, "rooms, from the first, that are scanned a second time along another path", minimum=0)
    still: int = option(0, "frames of standing still at both ends; 41 make the middle half all motion", minimum=0)


@dataclass(frozen=True)
class _Task:
    """One scan to write: its name, the clip that it shows, and whether it is another scan of that clip's room."""

    name: str
    clip: int
    again: bool = False


def emit_scannet(config: EmitScannet) -> Emitted:
    """Write a raw dataset: one scan per room, and rescans.

    Raises:
        ConfigError: an output folder in use, or rooms that can't be written as scans.
        OSError: the disk is full; nothing is left behind.
    """
    out, rooms = config.folder(), config.rendered()
    _check(config)
    tasks = {task.name: task for task in _tasks(config)}
    splits: list[tuple[str, str | None]] = []
    with (
        atomic_folder(out, keep_other=False, durable=False) as folder,
        Progress(len(tasks), f"writing {out.name}") as bar,
    ):
        write = functools.partial(_write_task, folder / "scans", rooms, config.layout, config.still, tasks)
        for name, split in run_jobs(write, list(tasks), config.workers):
            if isinstance(split, BaseException):
                raise split
            splits.append((name, split))
            bar.advance()
        (folder / FILE_NAME).write_text(labels_table(), encoding="utf-8")
        for file, content in split_lists(sorted(splits)).items():
            (folder / file).write_text(content, encoding="utf-8")
    return Emitted(out, len(tasks), commands.data("prepare", kind="scannet", raw=out))


def _tasks(config: EmitScannet) -> list[_Task]:
    tasks = [_Task(f"scene{room:04d}_00", room) for room in range(config.rooms.clips)]
    tasks += [_Task(f"scene{room:04d}_01", room, again=True) for room in range(min(config.rescans, config.rooms.clips))]
    return tasks


def _write_task(
    folder: Path, rooms: RoomsConfig, layout: str, still: int, tasks: dict[str, _Task], name: str
) -> str | None:
    """Film and write one scan; return its split."""
    task = tasks[name]
    if task.again:  # the second clip of the same room
        source = RoomsSource(dataclasses.replace(rooms, clips=2 * rooms.clips, clips_per_room=2, vary="camera"))
        clip = source.make(source.clip_ids()[2 * task.clip + 1])
    else:
        source = RoomsSource(rooms)
        clip = source.make(source.clip_ids()[task.clip])
    write_scan(folder / name, as_scan(clip, name, still), layout)
    return clip.split


def _check(config: EmitScannet) -> None:
    config.rooms.check()
    if config.rooms.clips_per_room != 1 or config.rooms.mode == "tunnel_pair":
        raise ConfigError(
            "a raw scan shows a room of its own", expected="clips_per_room=1, and no mode=tunnel_pair",
            fix="use rescans= for further scans of a room",
        )  # fmt: skip
    if config.rooms.clips > 10_000:
        raise ConfigError("scan names have four digits", expected="at most 10000 rooms", found=config.rooms.clips)
