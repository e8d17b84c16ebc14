"""From the number of a clip to everything that defines its pictures: geometry, look, lights and camera path.

Every decision comes from a named random stream: replacing one leaves everything that the others decide as it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.rooms import paths
from data.rooms.config import PAIR_CELLS, STREAMS, RoomsConfig
from data.rooms.furniture import furnish, tunnel, tunnel_pair
from data.rooms.materials import Lights, Look, hang, paint
from data.rooms.paths import Findings, measure, problems, required_clearance
from data.rooms.scene import Pinhole, Poses, Scene, turn_degrees, upside_down

SALT = 20_240_613
"""Keeps the rooms' streams apart from every other use of small seeds."""
ATTEMPTS = 400
"""Paths drawn before a room is given up."""
FULL_LENGTH = 81
"""Positions that a path is drawn for; a clip with fewer has the beginning of it, at the same speed."""


@dataclass(frozen=True)
class Streams:
    """The random streams of one clip.

    Attributes:
        seed: seed of the dataset.
        room: number of the room.
        variant: number of the clip within its room.
        varied: the stream that differs between the clips of a room, if any; all others are the room's.
    """

    seed: int
    room: int
    variant: int
    varied: str | None

    def generator(self, name: str, attempt: int = 0) -> np.random.Generator:
        """Return a fresh generator of one stream.

        Args:
            name: one of `STREAMS`.
            attempt: number of the draw, where a rejected one is repeated.
        """
        variant = self.variant if name == self.varied else 0
        key = (self.room, STREAMS.index(name), variant, attempt)
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence([SALT, self.seed], spawn_key=key)))


@dataclass(frozen=True)
class World:
    """What a clip shows and how the camera moves through it.

    Attributes:
        scene, look, lights: the room.
        camera: intrinsics; height and width already exchanged for a portrait clip.
        path: (T, 4, 4) camera-to-world at every position.
        family: path family.
        attempts: how many paths were drawn until one was acceptable.
        findings: what was measured on the accepted path.
        streams: the clip's random streams.
    """

    scene: Scene
    look: Look
    lights: Lights
    camera: Pinhole
    path: Poses
    family: str
    attempts: int
    findings: Findings
    streams: Streams


def streams_of(config: RoomsConfig, number: int) -> Streams:
    """Return the streams of a clip: the clips of a room share all but the varied one."""
    if config.mode == "tunnel_pair":
        return Streams(config.seed, number // PAIR_CELLS, number % PAIR_CELLS, None)
    per_room = config.clips_per_room
    varied = None if config.mode == "flip" else config.vary
    return Streams(config.seed, number // per_room, number % per_room, varied)


def build(config: RoomsConfig, number: int) -> World:
    """Build the world of one clip.

    Args:
        config: the generator's settings.
        number: number of the clip, from 0.

    Raises:
        DatasetError: no camera path satisfies the invariants.
    """
    streams = streams_of(config, number)
    scene, others = _scenes(config, streams)
    camera = Pinhole(config.height, config.width, config.fov)
    if config.portrait_prob > 0 and streams.generator("camera", ATTEMPTS).random() < config.portrait_prob:
        camera = Pinhole(config.width, config.height, config.fov)
    family = _family(config, streams)
    path, attempts, findings = _path(config, streams, [scene, *others], camera, family)
    look = paint(config, scene, streams.generator("appearance"))
    lights = hang(config, scene, streams.generator("lights"))
    return World(scene, look, lights, camera, path, family, attempts, findings, streams)


def _scenes(config: RoomsConfig, streams: Streams) -> tuple[Scene, list[Scene]]:
    """Return the clip's geometry, and others that must accept the same path."""
    rng = streams.generator("layout")
    if config.mode == "tunnel":
        return tunnel(config, rng), []
    if config.mode == "tunnel_pair":
        return tunnel_pair(config, rng, streams.variant), []
    scene = furnish(config, rng)
    if config.mode == "room":
        return scene, []
    mirrored = upside_down(scene)
    return (mirrored, [scene]) if streams.variant % 2 else (scene, [mirrored])


def _family(config: RoomsConfig, streams: Streams) -> str:
    if config.camera != "auto":
        return config.camera
    if config.mode in ("tunnel", "tunnel_pair"):
        return "tunnel"
    return "walk" if streams.room % 2 == 0 else "orbit"


def _path(
    config: RoomsConfig, streams: Streams, scenes: list[Scene], camera: Pinhole, family: str
) -> tuple[Poses, int, Findings]:
    """Draw paths until one satisfies all invariants in all scenes."""
    needed = required_clearance(config, camera)

    def clear(points: Poses) -> NDArray[np.bool_]:
        return np.asarray(np.min([scene.distance(points) for scene in scenes], axis=0) >= needed)

    length = max(config.frames, FULL_LENGTH)
    in_tunnel = config.mode in ("tunnel", "tunnel_pair")
    family_of_room = paths.orbit if family == "orbit" else paths.walk
    broken = ["no free way through the furniture"]
    path: Poses | None
    for attempt in range(ATTEMPTS):
        rng = streams.generator("camera", attempt)
        if in_tunnel:
            path = paths.tunnel(scenes[0], length, rng)
        else:
            path = family_of_room(scenes[0], length, rng, clear, level=config.mode == "flip")
        if path is None:
            continue
        path = path[: config.frames]
        if family == "static":
            path = paths.standing(path)
        if not clear(path[:, :3, 3]).all():
            broken = ["the path comes too close to something"]
            continue
        if np.median(turn_degrees(path)) >= config.max_turn:
            broken = [f"the camera turns faster than max_turn={config.max_turn:g}"]
            continue
        findings = measure(scenes, camera, path)
        broken = problems(config, camera, findings, len(scenes[0].objects))
        if not broken:
            return path, attempt + 1, findings
    raise DatasetError(
        f"no camera path of family {family} suits room {streams.room} after {ATTEMPTS} draws",
        expected="clearance, visibility and overlap as configured",
        found="; ".join(broken),
        fix="use fewer objects=, a smaller fov=, min_visible= or min_overlap=, or another seed=",
    )
