"""The rooms as a raw ScanNet release: `.sens`, exported folders, annotations, labels table, split lists, rescans."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path

from configs import commands
from configs.console import progress
from configs.errors import ConfigError
from configs.options import option
from data.emit.annotation import aggregation, label_ids, labels_table, scene_text, split_lists, write_masks
from data.emit.config import EmitConfig, Emitted, Format, whole_folder
from data.emit.exported import write_exported
from data.emit.faults import FAULTS
from data.emit.scannet_scan import RawScan, as_scan
from data.emit.sens import pack_depth, write_sens
from data.rooms.config import RoomsConfig
from data.scannet.labels import FILE_NAME


@dataclasses.dataclass
class EmitScannet(EmitConfig):
    """Options of `spatialprobe data emit format=scannet`."""

    layout: str = option("both", "how frames are stored", choices=("both", "sens", "exported"))
    rescans: int = option(1, "rooms, from the first, that are scanned a second time along another path", minimum=0)
    still: int = option(0, "frames of standing still at both ends; 41 make the middle half all motion", minimum=0)


@dataclass(frozen=True)
class _Task:
    """One scan to write: its name, the clip that it shows, and the fault built in."""

    name: str
    clip: int
    again: bool = False
    fault: str | None = None


def write_scan(folder: Path, scan: RawScan, layout: str = "both", fault: str | None = None) -> None:
    """Write one scan as ScanNet distributes it.

    Args:
        folder: created; its name must be the scan's.
        scan: the recording.
        layout: "sens", "exported" or "both".
        fault: name of a fault to build in.
    """
    folder.mkdir(parents=True)
    name = scan.name
    if fault is not None:
        scan = FAULTS[fault].before(scan)
    if layout != "exported":
        write_sens(
            folder / f"{name}.sens", scan.colour, [pack_depth(image) for image in scan.depth], scan.cam2world,
            scan.intrinsics, scan.size, scan.size, imu_tail=scan.imu_tail,
        )  # fmt: skip
    if layout != "sens":
        write_exported(folder / "exported", scan)
    (folder / f"{name}.aggregation.json").write_text(aggregation(scan), encoding="utf-8")
    (folder / f"{name}.txt").write_text(scene_text(scan), encoding="utf-8")
    write_masks(folder / f"{name}_2d-instance-filt.zip", "instance-filt", scan.masks)
    write_masks(folder / f"{name}_2d-label-filt.zip", "label-filt", label_ids(scan))
    if fault is not None:
        FAULTS[fault].after(folder)


def emit_scannet(config: EmitScannet) -> Emitted:
    """Write a raw dataset: one scan per room, rescans, and one more scan for every fault.

    Raises:
        ConfigError: an unknown fault, an output folder in use, or rooms that can't be told as scans.
        OSError: the disk is full; nothing is left behind.
    """
    from configs.jobs import run_jobs

    out, rooms, faults = config.folder(), config.rooms(), config.faults(FAULTS)
    _check(config, faults)
    tasks = {task.name: task for task in _tasks(config, faults)}
    splits: list[tuple[str, str | None]] = []
    with whole_folder(out) as folder, progress(len(tasks), f"writing {out.name}") as bar:
        write = functools.partial(_write_task, folder / "scans", rooms, config.layout, config.still, tasks)
        for name, split in run_jobs(write, list(tasks), config.workers):
            if isinstance(split, BaseException):
                raise split
            splits.append((name, split))
            bar.advance()
        (folder / FILE_NAME).write_text(labels_table(), encoding="utf-8")
        for file, content in split_lists(sorted(splits)).items():
            (folder / file).write_text(content, encoding="utf-8")
    broken = {task.name: FAULTS[task.fault].about for task in tasks.values() if task.fault}
    return Emitted(out, len(tasks), broken, commands.data("prepare", dataset="scannet", raw=out))


def _tasks(config: EmitScannet, faults: list[str]) -> list[_Task]:
    tasks = [_Task(f"scene{room:04d}_00", room) for room in range(config.clips)]
    tasks += [_Task(f"scene{room:04d}_01", room, again=True) for room in range(min(config.rescans, config.clips))]
    tasks += [
        _Task(f"scene{config.clips + rank:04d}_00", rank % config.clips, fault=fault)
        for rank, fault in enumerate(faults)
    ]
    return tasks


def _write_task(
    folder: Path, rooms: RoomsConfig, layout: str, still: int, tasks: dict[str, _Task], name: str
) -> str | None:
    """Film and write one scan; return its split."""
    from data.rooms.source import RoomsSource

    task = tasks[name]
    if task.again:  # the second clip of the same room
        source = RoomsSource(dataclasses.replace(rooms, clips=2 * rooms.clips, clips_per_room=2, vary="camera"))
        clip = source.make(source.clip_ids()[2 * task.clip + 1])
    else:
        source = RoomsSource(rooms)
        clip = source.make(source.clip_ids()[task.clip])
    write_scan(folder / name, as_scan(clip, name, still), layout, task.fault)
    return clip.split


def _check(config: EmitScannet, faults: list[str]) -> None:
    config.check()
    if config.clips_per_room != 1 or config.mode == "tunnel_pair":
        raise ConfigError(
            "a raw scan shows a room of its own", expected="clips_per_room=1, and no mode=tunnel_pair",
            fix="use rescans= for further scans of a room",
        )  # fmt: skip
    if config.clips + len(faults) > 10_000:
        raise ConfigError("scan names have four digits", expected="at most 10000 rooms and faults", found=config.clips)
    if config.layout == "exported" and any(name.endswith(("_sens", "_tail", "_size", "_depth")) for name in faults):
        raise ConfigError("faults of .sens files need one", found="layout=exported", fix="leave layout= out")


FORMAT = Format(EmitScannet, emit_scannet)
