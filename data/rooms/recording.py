"""Recording a world: which positions are rendered, what the sensor makes of them, and what is annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.dataset.clip import Instance
from data.dataset.taxonomy import SCANNET20
from data.rooms import sensor
from data.rooms.config import RoomsConfig
from data.rooms.frames import Frame, FrameRenderer
from data.rooms.invariants import query_positions
from data.rooms.sensor import Faults
from data.rooms.world import World


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
        exposed = sensor.exposed(frame.colour, float(faults.gain[source]))
        images.append(sensor.jpeg(exposed, config.jpeg_quality))
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
    return sensor.noisy_depth(frame.geometry.depth, renderer.facing(frame.geometry), config, rng)
