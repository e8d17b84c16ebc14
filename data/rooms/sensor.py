"""What a real sensor would spoil: every function returns a changed copy, the exact values stay as they are."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.rooms.config import RoomsConfig

Rng = np.random.Generator
Image = NDArray[np.uint8]


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


def jpeg(image: Image, quality: int) -> bytes:
    """Return an (H, W, 3) uint8 RGB image as JPEG bytes without chroma subsampling."""
    from PIL import Image as PillowImage

    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
