"""One room as a DL3DV scene, in memory and on disk: frames, `transforms.json`, and the truth beside them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.files import json_bytes
from data.dataset.check import OPENGL_TO_OPENCV
from data.dl3dv.lens import Lens, resample, sampling
from data.dl3dv.scenes import ORACLE
from data.dl3dv.teachers import CAMERAS, MILLIMETRES
from data.dl3dv.transforms import NAME
from data.raw.images import encode_png
from data.rooms.config import RoomsConfig
from data.rooms.recording import FrameRenderer, draw_faults, exposed, shaken
from data.rooms.scene import SHELL_LABELS, Pinhole
from data.rooms.world import World, build

APPLIED = ((1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 1.0, 0.0), (0.0, -1.0, 0.0, 0.0))
"""The turn of the world that nerfstudio puts on top of COLMAP's: y and z exchanged, the new z reversed."""
_UNREGISTERED = 1 << 20
"""A draw of the sensor stream that the rooms themselves never come to."""


@dataclass(frozen=True)
class Traits:
    """What is special about one scene.

    Attributes:
        folder: name of the folder of frames; its number says by how much they are smaller than the recording.
        home: folder inside the scene's in which everything lies: "" or "colmap".
        radial, tangential, fisheye: distortion of the lens, see `Lens`.
        scale: length in COLMAP's world of one metre.
        unregistered: share of frames that `transforms.json` does not list.
    """

    folder: str = "images_4"
    home: str = ""
    radial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: bool = False
    scale: float = 1.0
    unregistered: float = 0.0

    @property
    def factor(self) -> int:
        """By how much the frames are smaller than the recording."""
        return int(self.folder.rpartition("_")[2]) if "_" in self.folder else 1


@dataclass(frozen=True)
class RawScene:
    """A recording of N frames.

    Attributes:
        images: N pictures (H, W, 3) uint8 through `lens`.
        numbers: N numbers from 1, increasing, with gaps where files are missing.
        depth: (N, H, W) uint16 millimetres through the pinhole of `lens`.
        cam2world: (N, 4, 4) float64 exact poses, metres, OpenCV axes.
        reported: (N, 4, 4) the poses that COLMAP finds, metres; the same unless poses are jittered.
        registered: (N,) bool, whether COLMAP finds one.
        lens: of the frames.
    """

    images: Sequence[NDArray[np.uint8]]
    numbers: Sequence[int]
    depth: NDArray[np.uint16]
    cam2world: NDArray[np.float64]
    reported: NDArray[np.float64]
    registered: NDArray[np.bool_]
    lens: Lens

    @property
    def stems(self) -> list[str]:
        """Names of the frames without ending."""
        return [f"frame_{number:05d}" for number in self.numbers]


def film(config: RoomsConfig, number: int, traits: Traits) -> RawScene:
    """Record one room.

    The sensor knobs of the rooms mean here: `missing_prob`, files that are not there; `invalid_pose_prob`, frames that
    COLMAP did not register; `pose_jitter_*`, errors of its poses; exposure and motion blur, the same. Depth is exact.

    Args:
        config: the room's knobs.
        number: number of the room.
        traits: what is special about the scene.

    Raises:
        DatasetError: no camera path suits the room.
    """
    world = build(config, number)
    streams, labels = world.streams, world.scene.labels
    faults = draw_faults(config, len(labels), len(SHELL_LABELS), streams.generator("sensor"))
    taken = np.flatnonzero(faults.source == np.arange(config.frames))
    reported = world.path
    if config.pose_jitter_m > 0 or config.pose_jitter_deg > 0:
        tracked = np.ones(config.frames, np.bool_)
        reported = shaken(world.path, tracked, config, streams.generator("sensor", 1)).astype(np.float64)
    dropped = streams.generator("sensor", _UNREGISTERED).random(config.frames) < traits.unregistered
    if traits.unregistered > 0 and len(taken) > 3:
        dropped[taken[len(taken) // 3]] = True
    lens = replace(lens_of(world.camera), radial=traits.radial, tangential=traits.tangential, fisheye=traits.fisheye)
    images, depth = _render(config, world, taken, faults.gain, lens)
    return RawScene(
        images=images,
        numbers=[int(p) + 1 for p in taken],
        depth=depth,
        cam2world=world.path[taken],
        reported=reported[taken],
        registered=(faults.pose_valid & ~dropped)[taken],
        lens=lens,
    )


def lens_of(camera: Pinhole) -> Lens:
    """Return a pinhole of the rooms as a lens."""
    return Lens(camera.width, camera.height, camera.focal, camera.focal, camera.width / 2, camera.height / 2)


def write_scene(folder: Path, scene: RawScene, traits: Traits, seed: int) -> None:
    """Write a scene as DL3DV distributes it, and its truth into `oracle/`.

    Args:
        folder: created; its name is the scene's hash.
        scene: the recording.
        traits: what is special about it.
        seed: of the order of the entries in `transforms.json`.
    """
    home = folder / traits.home
    (home / traits.folder).mkdir(parents=True)
    (home / ORACLE / "depth").mkdir(parents=True)
    for stem, image, depth in zip(scene.stems, scene.images, scene.depth, strict=True):
        (home / traits.folder / f"{stem}.png").write_bytes(encode_png(image))
        (home / ORACLE / "depth" / f"{stem}.png").write_bytes(encode_png(depth))
    (home / NAME).write_bytes(json_bytes(transforms(scene, traits, seed)))
    (home / ORACLE / CAMERAS).write_text(json.dumps(_truth(scene)))


def transforms(scene: RawScene, traits: Traits, seed: int) -> dict[str, Any]:
    """Return the content of `transforms.json`: full-size lens, OpenGL poses in an applied world, in any order."""
    applied = np.vstack([APPLIED, [0.0, 0.0, 0.0, 1.0]])
    full = scene.lens.resized(scene.lens.width * traits.factor, scene.lens.height * traits.factor)
    frames = []
    for row in np.random.default_rng(seed).permutation(len(scene.numbers)).tolist():
        if scene.registered[row]:
            pose = scene.reported[row].copy()
            pose[:3, 3] *= traits.scale
            matrix = applied @ pose @ OPENGL_TO_OPENCV
            path = f"images/{scene.stems[row]}.png"
            frames.append({"file_path": path, "transform_matrix": matrix.tolist(), "colmap_im_id": scene.numbers[row]})
    names = ("k1", "k2", "k3", "k4") if traits.fisheye else ("k1", "k2", "p1", "p2")
    values = traits.radial if traits.fisheye else (*traits.radial[:2], *traits.tangential)
    return {
        "camera_model": "OPENCV_FISHEYE" if traits.fisheye else "OPENCV",
        "w": full.width, "h": full.height, "fl_x": full.fx, "fl_y": full.fy, "cx": full.cx, "cy": full.cy,
        **dict(zip(names, values, strict=True)),
        "applied_transform": [list(row) for row in APPLIED],
        "frames": frames,
    }  # fmt: skip


def _truth(scene: RawScene) -> dict[str, Any]:
    lens = scene.lens.pinhole()
    return {
        "width": lens.width,
        "height": lens.height,
        "matrix": [[lens.fx, 0.0, lens.cx], [0.0, lens.fy, lens.cy], [0.0, 0.0, 1.0]],
        "cam2world": {stem: pose.tolist() for stem, pose in zip(scene.stems, scene.cam2world, strict=True)},
    }


def _render(
    config: RoomsConfig, world: World, taken: NDArray[np.int64], gain: NDArray[np.float64], lens: Lens
) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint16]]:
    """Render colour through the lens and depth through its pinhole.

    A distorted picture is resampled from a pinhole's that is wider by a margin, so that it has no empty border.
    """
    margin = _margin(lens)
    camera = world.camera
    wide = _widened(camera, margin) if margin else camera
    renderer = FrameRenderer(replace(world, camera=wide), config.supersample, config.motion_blur)
    where = sampling(lens, lens_of(wide)) if lens.distorted else None
    images, depth = [], []
    inner = slice(margin, margin + camera.height), slice(margin, margin + camera.width)
    for position in taken.tolist():
        frame = renderer.render(position)
        assert frame.colour is not None
        colour = exposed(frame.colour, float(gain[position]))
        images.append(colour if where is None else resample(colour, where, nearest=False))
        depth.append(np.clip(np.rint(frame.geometry.depth[inner] * MILLIMETRES), 1, 65535).astype(np.uint16))
    return images, np.stack(depth)


def _margin(lens: Lens) -> int:
    """Return by how many pixels a pinhole's picture must be larger on each side to cover all that the lens sees."""
    if not lens.distorted:
        return 0
    seen = lens.pinhole().project(lens.unproject(lens.pixels()))
    outside = np.maximum(-seen, seen - (lens.width, lens.height))
    return max(0, math.ceil(float(np.nanmax(outside)))) + 2


def _widened(camera: Pinhole, margin: int) -> Pinhole:
    height, width = camera.height + 2 * margin, camera.width + 2 * margin
    return Pinhole(height, width, math.degrees(2 * math.atan(0.5 * max(height, width) / camera.focal)))
