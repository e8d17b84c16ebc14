"""Filming a world: its frames, what a sensor spoils, what an annotator leaves.

What the sensor spoils is always a changed copy; the exact values stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.dataset.clip import Instance
from data.dataset.taxonomy import SCANNET20
from data.raw.images import encode_jpeg
from data.rooms.config import RoomsConfig
from data.rooms.paths import query_positions
from data.rooms.render import Caster, GeometryBuffer, Shader
from data.rooms.scene import between
from data.rooms.world import World

Rng = np.random.Generator
Image = NDArray[np.uint8]
BLUR_SAMPLES = 4
"""Sub-frames that make up a blurred image."""


@dataclass(frozen=True)
class Faults:
    """What goes wrong in one clip, drawn once from the sensor stream for all T positions and N instances.

    Attributes:
        source: (T,) position whose frame is stored at each position; earlier where a frame is missing.
        pose_valid: (T,) bool, of the frame taken at each position.
        annotated: (N,) bool, by instance id - 1.
        source_id: (N,) int, the raw annotation's ids, increasing.
        gain: (T,) brightness factor.
    """

    source: NDArray[np.int64]
    pose_valid: NDArray[np.bool_]
    annotated: NDArray[np.bool_]
    source_id: NDArray[np.int64]
    gain: NDArray[np.float64]


def draw_faults(config: RoomsConfig, instances: int, fixed: int, rng: Rng) -> Faults:
    """Draw the faults of a clip; every knob takes its draws whether it is on or off.

    Args:
        config: the sensor knobs.
        instances: number of instances N.
        fixed: how many of them, from the first, are always annotated (the shell of the room).
        rng: the sensor stream.
    """
    frames = config.frames
    missing = rng.random(frames) < config.missing_prob
    missing[0] = False
    source = np.maximum.accumulate(np.where(missing, 0, np.arange(frames)))
    pose_valid = rng.random(frames) >= config.invalid_pose_prob
    annotated = rng.random(instances) >= config.unannotated_prob
    annotated[:fixed] = True
    gaps = np.floor(rng.random(instances) * (config.id_gap + 1)).astype(np.int64)
    drift = np.cumsum(rng.normal(0, 1, frames))
    drift = (drift - drift.mean()) / max(float(drift.std()), 1e-9)
    gain = 2.0 ** (config.exposure_drift * drift)
    return Faults(source, pose_valid, annotated, np.cumsum(1 + gaps), gain)


def noisy_depth(
    depth: NDArray[np.float32], facing: NDArray[np.float32], config: RoomsConfig, rng: Rng
) -> NDArray[np.float32]:
    """Return depth as a sensor would measure it, 0 where it measures nothing.

    Args:
        depth: (H, W) exact depth in metres.
        facing: (H, W) cosine between the surface normal and the direction to the camera, in [0, 1].
        config: `depth_noise` and `depth_dropout` are used.
        rng: a generator of this frame.
    """
    measured = depth * (1 + config.depth_noise * depth * rng.standard_normal(depth.shape))
    lost = rng.random(depth.shape) < config.depth_dropout * (1 - facing) ** 3
    return np.where(lost, 0, np.maximum(measured, 1e-3)).astype(np.float32)


def shaken(poses: NDArray[np.float64], valid: NDArray[np.bool_], config: RoomsConfig, rng: Rng) -> NDArray[np.float32]:
    """Return poses as a tracker would report them: jittered, and -inf where tracking is lost.

    Args:
        poses: (T, 4, 4) exact camera-to-world.
        valid: (T,) bool; False becomes -inf, as in ScanNet.
        config: `pose_jitter_m` and `pose_jitter_deg` are used.
        rng: a generator.
    """
    result = poses.copy()
    shift = rng.standard_normal((len(poses), 3)) * config.pose_jitter_m
    turn = rng.standard_normal((len(poses), 3)) * np.radians(config.pose_jitter_deg)
    result[:, :3, 3] += shift
    if config.pose_jitter_deg > 0:
        result[:, :3, :3] = _rotations(turn) @ result[:, :3, :3]
    result[~valid] = -np.inf
    return result.astype(np.float32)


def _rotations(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation matrices of (T, 3) rotation vectors (Rodrigues)."""
    angle = np.maximum(np.linalg.norm(turn, axis=1), 1e-12)[:, None, None]
    x, y, z = (turn / angle[:, 0]).T
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * (cross @ cross))


def exposed(image: Image, gain: float) -> Image:
    """Return an image with its linear brightness multiplied."""
    if gain == 1.0:
        return image
    table = np.clip(np.arange(256) * gain ** (1 / 2.2) + 0.5, 0, 255).astype(np.uint8)
    return np.asarray(table[image])


def averaged(images: list[Image]) -> Image:
    """Return the mean of sub-frames, rounded: motion blur."""
    if len(images) == 1:
        return images[0]
    return np.asarray((np.mean(images, axis=0) + 0.5).astype(np.uint8))


@dataclass(frozen=True)
class Frame:
    """One rendered frame: geometry, instance ids (H, W) uint16 and, unless left out, colour (H, W, 3) uint8."""

    geometry: GeometryBuffer
    instance: NDArray[np.uint16]
    colour: NDArray[np.uint8] | None


class FrameRenderer:
    """Renders any position of a clip's world.

    Args:
        world: what to render.
        supersample: RGB samples per pixel along each axis.
        motion_blur: shutter time as a share of the frame time.
    """

    def __init__(self, world: World, supersample: int = 1, motion_blur: float = 0.0) -> None:
        self.world = world
        self.caster = Caster(world.scene, world.camera)
        self.shader = Shader(world.scene, world.camera, world.look, world.lights)
        self._blur, self._factor = motion_blur, supersample
        self._fine = (self.caster, self.shader)
        if supersample > 1:
            fine = world.camera.scaled(supersample)
            self._fine = (Caster(world.scene, fine), Shader(world.scene, fine, world.look, world.lights))

    def render(self, position: int, *, colour: bool = True) -> Frame:
        """Render one position of the path; `colour=False` leaves the image out at about half the cost."""
        geometry = self.caster.cast(self.world.path[position])
        image = self._colour(position, geometry) if colour else None
        return Frame(geometry, self.caster.instance(geometry), image)

    def facing(self, geometry: GeometryBuffer) -> NDArray[np.float32]:
        """Return the cosine between each pixel's normal and the direction to the camera, (H, W) in [0, 1]."""
        rays = np.stack(geometry.rays, axis=-1)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        return np.asarray(np.clip(-(self.shader.normals(geometry) * rays).sum(axis=-1), 0, 1))

    def _colour(self, position: int, geometry: GeometryBuffer) -> NDArray[np.uint8]:
        path = self.world.path
        if self._blur == 0:
            return self._image(path[position], geometry)
        neighbour = path[min(position + 1, len(path) - 1)]
        shares = [self._blur * k / BLUR_SAMPLES for k in range(BLUR_SAMPLES)]
        return averaged([self._image(between(path[position], neighbour, share), None) for share in shares])

    def _image(self, pose: NDArray[np.float64], geometry: GeometryBuffer | None) -> NDArray[np.uint8]:
        """Colour one pose; the geometry is cast anew where it isn't given or has another resolution."""
        caster, shader = self._fine
        n = self._factor
        if n == 1:
            return shader.colour(geometry if geometry is not None else caster.cast(pose))
        fine = shader.colour(caster.cast(pose))
        height, width = self.world.camera.height, self.world.camera.width
        return np.asarray((fine.reshape(height, n, width, n, 3).mean(axis=(1, 3)) + 0.5).astype(np.uint8))


@dataclass(frozen=True)
class Recording:
    """What was rendered of one clip.

    Attributes:
        positions: (T,) int32 positions with a frame.
        images: T JPEG images.
        pixels: (T, N + 1) int64 pixels of every instance, index 0 unused.
        dense: (G,) int32 positions with dense ground truth.
        instance: (G, H, W) uint16 exact ids 1..N.
        depth: (G, H, W) float32 exact depth, metres.
        measured: (G, H, W) float32 depth as the sensor reports it; equal to `depth` if it has no faults.
    """

    positions: NDArray[np.int32]
    images: list[bytes]
    pixels: NDArray[np.int64]
    dense: NDArray[np.int32]
    instance: NDArray[np.uint16]
    depth: NDArray[np.float32]
    measured: NDArray[np.float32]


@dataclass(frozen=True)
class Annotation:
    """What an annotator left of a recording: compact ids (G, H, W), the instances, (T, C) pixels per class."""

    instance: NDArray[np.uint16]
    instances: list[Instance]
    class_pixels: NDArray[np.int32]


def record(config: RoomsConfig, world: World, faults: Faults) -> Recording:
    """Render the wanted positions of a clip through the sensor.

    Args:
        config: `render`, `dense` and the knobs of image and depth are used.
        world: what to render.
        faults: says which frame is stored at each position and how bright it is.
    """
    query = query_positions(config.frames)
    positions = query if config.render == "query" else list(range(config.frames))
    dense = positions if config.dense == "all" else query
    renderer = FrameRenderer(world, config.supersample, config.motion_blur)
    images, pixels, kept, measured = [], [], [], []
    shown: tuple[int, Frame] | None = None
    for position in positions:
        source = int(faults.source[position])
        if shown is None or shown[0] != source:
            shown = (source, renderer.render(source))
        frame = shown[1]
        assert frame.colour is not None
        images.append(encode_jpeg(exposed(frame.colour, float(faults.gain[source])), config.jpeg_quality))
        pixels.append(np.bincount(frame.instance.ravel(), minlength=len(world.scene.labels) + 1))
        if position in dense:
            kept.append(frame)
            measured.append(_measure(config, renderer, frame, world.streams.generator("sensor", 2 + source)))
    return Recording(
        np.array(positions, np.int32),
        images,
        np.stack(pixels),
        np.array(dense, np.int32),
        np.stack([frame.instance for frame in kept]),
        np.stack([frame.geometry.depth for frame in kept]),
        np.stack(measured),
    )


def annotate(labels: Sequence[str], faults: Faults, film: Recording) -> Annotation:
    """Drop the instances without annotation, number the others 1..N again, and count the pixels of each class."""
    classes = [SCANNET20.index(label) for label in labels]
    compact = np.concatenate([[0], np.where(faults.annotated, np.cumsum(faults.annotated), 0)]).astype(np.uint16)
    instances, class_pixels = [], np.zeros((len(film.positions), len(SCANNET20)), np.int32)
    for number in np.flatnonzero(faults.annotated).tolist():
        instances.append(
            Instance(
                id=int(compact[number + 1]),
                class_index=classes[number],
                raw_label=labels[number],
                is_thing=SCANNET20.is_thing(classes[number]),
                source_id=int(faults.source_id[number]),
            )
        )
        if classes[number] >= 0:
            class_pixels[:, classes[number]] += film.pixels[:, number + 1].astype(np.int32)
    return Annotation(compact[film.instance], instances, class_pixels)


def _measure(
    config: RoomsConfig, renderer: FrameRenderer, frame: Frame, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the stored depth of a frame: a noisy copy if the sensor is noisy."""
    if config.depth_noise == 0 and config.depth_dropout == 0:
        return frame.geometry.depth
    return noisy_depth(frame.geometry.depth, renderer.facing(frame.geometry), config, rng)
