"""The rooms as raw DL3DV scenes: `images_4`, `transforms.json`, an odd scene of every sort, the truth beside them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

from configs import commands
from configs.console import Progress
from configs.errors import ConfigError
from configs.files import atomic_folder
from configs.jobs import run_jobs
from configs.options import option
from data.dataset.layout import check_clip_id
from data.emit.config import EmitConfig, Emitted
from data.emit.dl3dv_scene import Traits, film, write_scene
from data.rooms.config import RoomsConfig


@dataclasses.dataclass(frozen=True)
class EmitDL3DV(EmitConfig):
    """Options of `spatialprobe data emit format=dl3dv`."""

    batch: str = option("1K", "name of the folder above the scenes")
    folder_of_frames: str = option(
        "images_4", "folder of the frames; its number is the factor to full size", choices=("images_4", "images_8")
    )
    scale: float = option(0.4, "length in COLMAP's world of one metre", minimum=1e-3, maximum=1e3)
    unregistered: float = option(
        0.05, "share of frames that transforms.json lacks, at least one if above 0", minimum=0, maximum=0.9
    )
    portrait: int = option(1, "scenes, from the last, that are taken upright", minimum=0)
    nested: int = option(1, "scenes before those that lie in a folder colmap/", minimum=0)
    distorted: int = option(1, "scenes before those whose lens has k1, k2, p1 and p2", minimum=0)
    fisheye: int = option(0, "scenes before those with a fisheye lens", minimum=0)


@dataclass(frozen=True)
class Task:
    """One scene to write: the room that it shows, its traits, and whether it is upright."""

    room: int
    traits: Traits
    upright: bool = False


def scene_hash(seed: int, number: int) -> str:
    """Return the name of a scene's folder: 64 hexadecimal characters, as in DL3DV."""
    return hashlib.sha256(f"dl3dv room {seed} {number}".encode()).hexdigest()


def emit_dl3dv(config: EmitDL3DV) -> Emitted:
    """Write a raw dataset: one scene per room.

    Raises:
        ConfigError: an output folder in use, or rooms that can't be written as scenes.
        OSError: the disk is full; nothing is left behind.
    """
    out = config.folder()
    _check(config)
    tasks = plan(config)
    with (
        atomic_folder(out, keep_other=False, durable=False) as folder,
        Progress(len(tasks), f"writing {out.name}") as bar,
    ):
        write = functools.partial(write_task, folder / config.batch, config.rendered(), tasks)
        for _, result in run_jobs(write, list(tasks), config.workers):
            if isinstance(result, BaseException):
                raise result
            bar.advance()
    alike = f"{config.rooms.width}x{config.rooms.height}" if config.portrait else None  # what probes need
    return Emitted(
        out,
        len(tasks),
        commands.data("prepare", kind="dl3dv", raw=out, teacher="oracle", image_size=alike),
    )


def plan(config: EmitDL3DV) -> dict[str, Task]:
    """Return the scenes by hash, in the order of the rooms."""
    plain = Traits(folder=config.folder_of_frames, scale=config.scale, unregistered=config.unregistered)
    sorts: list[tuple[int, Traits, bool]] = [
        (config.portrait, plain, True),
        (config.nested, dataclasses.replace(plain, home="colmap"), False),
        (
            config.distorted,
            dataclasses.replace(plain, radial=(-0.15, 0.03, 0.0, 0.0), tangential=(0.001, -0.0005)),
            False,
        ),
        (config.fisheye, dataclasses.replace(plain, radial=(0.03, -0.01, 0.002, 0.0), fisheye=True), False),
    ]
    odd = [(traits, upright) for count, traits, upright in sorts for _ in range(count)][: config.rooms.clips]
    shapes = [(plain, False)] * (config.rooms.clips - len(odd)) + odd[::-1]
    tasks = [Task(room, traits, upright) for room, (traits, upright) in enumerate(shapes)]
    return {scene_hash(config.rooms.seed, number): task for number, task in enumerate(tasks)}


def write_task(batch: Path, rooms: RoomsConfig, tasks: dict[str, Task], name: str) -> None:
    """Film and write one scene into the folder of its batch."""
    task = tasks[name]
    if task.upright and rooms.height < rooms.width:
        rooms = dataclasses.replace(rooms, height=rooms.width, width=rooms.height)
    write_scene(batch / name, film(rooms, task.room, task.traits), task.traits, seed=task.room)


def _check(config: EmitDL3DV) -> None:
    config.rooms.check()
    check_clip_id(config.batch)
    if config.rooms.clips_per_room != 1 or config.rooms.mode == "tunnel_pair":
        raise ConfigError(
            "a raw scene shows a room of its own", expected="clips_per_room=1, and no mode=tunnel_pair",
            fix="choose mode=room or mode=tunnel",
        )  # fmt: skip
    if config.portrait > 0 and config.rooms.height == config.rooms.width:
        raise ConfigError(
            "upright scenes need height and width to differ", found=f"{config.rooms.height} x {config.rooms.width}",
            fix="add portrait=0, or for example height=96 width=128",
        )  # fmt: skip
    if config.rooms.frames < 10:
        raise ConfigError(
            "a scene needs at least ten frames", found=f"frames={config.rooms.frames}", fix="raise frames="
        )
