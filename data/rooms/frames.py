"""Rendering the positions of one clip: images with optional supersampling and motion blur, exact geometry beside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.rooms.camera import between
from data.rooms.render import Caster, GeometryBuffer
from data.rooms.sensor import averaged
from data.rooms.shading import Shader
from data.rooms.world import World

BLUR_SAMPLES = 4
"""Sub-frames that make up a blurred image."""


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
