"""Pinhole cameras and how to look: intrinsics, ray directions, camera-to-world poses.

Conventions: OpenCV axes (x right, y down, z forward), pixel centres at +0.5, principal point in the middle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Poses = NDArray[np.float64]


@dataclass(frozen=True)
class Pinhole:
    """A pinhole camera with square pixels.

    Attributes:
        height, width: pixels.
        fov: angle of view along the longer side, degrees.
    """

    height: int
    width: int
    fov: float

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return 0.5 * max(self.height, self.width) / math.tan(math.radians(self.fov) / 2)

    @property
    def matrix(self) -> NDArray[np.float32]:
        """(3, 3) camera matrix in pixels."""
        f = self.focal
        return np.array([[f, 0, self.width / 2], [0, f, self.height / 2], [0, 0, 1]], np.float32)

    @property
    def corner_stretch(self) -> float:
        """Length of the corner ray with z = 1: no point at distance r can have a depth below r over this."""
        return math.hypot(1.0, 0.5 * self.width / self.focal, 0.5 * self.height / self.focal)

    def rays(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return x (width,) and y (height,) of the ray directions with z = 1 at the pixel centres."""
        x = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
        y = (np.arange(self.height) + 0.5 - self.height / 2) / self.focal
        return x.astype(np.float32), y.astype(np.float32)

    def scaled(self, factor: int) -> Pinhole:
        """Return the camera with `factor` times as many pixels along each axis."""
        return Pinhole(self.height * factor, self.width * factor, self.fov)

    def thumbnail(self, longest: int) -> Pinhole:
        """Return the camera with the same view and `longest` pixels along its longer side."""
        share = longest / max(self.height, self.width)
        return Pinhole(max(1, round(self.height * share)), max(1, round(self.width * share)), self.fov)


def look_at(eye: Poses, target: Poses, roll: Poses) -> Poses:
    """Return camera-to-world poses that look from points to points.

    Args:
        eye, target: (T, 3) world positions; not above each other.
        roll: (T,) radians about the viewing axis.

    Returns:
        (T, 4, 4) float64.
    """
    forward = target - eye
    forward /= np.linalg.norm(forward, axis=1, keepdims=True)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    down = np.cross(forward, right)
    c, s = np.cos(roll)[:, None], np.sin(roll)[:, None]
    poses = np.tile(np.eye(4), (len(eye), 1, 1))
    poses[:, :3, 0] = right * c + down * s
    poses[:, :3, 1] = down * c - right * s
    poses[:, :3, 2] = forward
    poses[:, :3, 3] = eye
    return poses


def turn_degrees(poses: Poses) -> NDArray[np.float64]:
    """Return the rotation between consecutive poses, (T - 1,) degrees."""
    trace = np.einsum("tij,tij->t", poses[:-1, :3, :3], poses[1:, :3, :3])
    return np.asarray(np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1))))


def between(first: Poses, second: Poses, share: float) -> Poses:
    """Return the pose a share of the way between two nearby poses, (4, 4)."""
    pose = (1 - share) * first + share * second
    u, _, vt = np.linalg.svd(pose[:3, :3])
    pose[:3, :3] = u @ vt
    return pose
