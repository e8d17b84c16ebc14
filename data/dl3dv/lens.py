"""Lenses of COLMAP's models: from rays to pixels and back, and what must be resampled to make one look like another.

A ray is (x, y) with z = 1 in OpenCV camera axes. Pixel i covers [i, i+1); its centre is i + 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
ITERATIONS = 50
"""Newton steps at most when a lens is inverted; five do for ordinary ones."""
ZOOMS: tuple[float, ...] = tuple(1.005**k for k in range(418))
"""Zooms tried when a picture is undistorted, 1 to 8."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics with distortion.

    Attributes:
        width, height: pixels.
        fx, fy, cx, cy: focal lengths and principal point, pixels.
        fisheye: False for COLMAP's OPENCV family, True for OPENCV_FISHEYE.
        radial: k1 to k4: of r^2, r^4, r^6, r^8, or of the powers of the angle if `fisheye`.
        tangential: p1, p2; zero if `fisheye`.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    fisheye: bool = False
    radial: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    tangential: tuple[float, float] = (0.0, 0.0)

    @property
    def distorted(self) -> bool:
        """Whether the lens is anything but a pinhole."""
        return self.fisheye or any(self.radial) or any(self.tangential)

    @property
    def matrix(self) -> NDArray[np.float32]:
        """(3, 3) camera matrix in pixels."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]], np.float32)

    def matrices(self, count: int) -> NDArray[np.float32]:
        """Return the camera matrix `count` times, (count, 3, 3)."""
        return np.repeat(self.matrix[None], count, axis=0)

    def resized(self, width: int, height: int) -> Lens:
        """Return the lens of the same picture at another size: pure factors, coefficients unchanged."""
        x, y = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * x, fy=self.fy * y, cx=self.cx * x, cy=self.cy * y)

    def pinhole(self, zoom: float = 1.0) -> Lens:
        """Return the lens without distortion, its focal lengths times `zoom`."""
        return Lens(self.width, self.height, self.fx * zoom, self.fy * zoom, self.cx, self.cy)

    def project(self, rays: Array) -> Array:
        """Return the pixels of rays, both (..., 2)."""
        return self._bend(rays) * (self.fx, self.fy) + (self.cx, self.cy)

    def unproject(self, pixels: Array) -> Array:
        """Return the rays of pixels, both (..., 2); NaN where the model has no inverse."""
        wanted = (np.asarray(pixels, np.float64) - (self.cx, self.cy)) / (self.fx, self.fy)
        return self._unbend(wanted) if self.distorted else wanted

    def pixels(self) -> Array:
        """Return the centres of all pixels, (height, width, 2) as (x, y)."""
        x, y = np.arange(self.width) + 0.5, np.arange(self.height) + 0.5
        return np.stack(np.meshgrid(x, y), axis=-1)

    def _bend(self, rays: Array) -> Array:
        if not self.distorted:
            return rays
        x, y = rays[..., 0], rays[..., 1]
        k1, k2, k3, k4 = self.radial
        r2 = x * x + y * y
        if self.fisheye:
            r = np.sqrt(r2)
            angle = np.arctan(r)
            a2 = angle * angle
            bent = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
            factor = np.where(r > 1e-12, bent / np.maximum(r, 1e-12), 1.0)
            return np.stack([x * factor, y * factor], axis=-1)
        factor = 1 + r2 * (k1 + r2 * (k2 + r2 * (k3 + r2 * k4)))
        p1, p2 = self.tangential
        return np.stack(
            [
                x * factor + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
                y * factor + 2 * p2 * x * y + p1 * (r2 + 2 * y * y),
            ],
            axis=-1,
        )

    def _unbend(self, wanted: Array) -> Array:
        """Invert `_bend` by Newton's method from the undistorted guess, with numerical derivatives."""
        rays = wanted.copy()
        step = 1e-6
        with np.errstate(all="ignore"):
            right, down = np.array([step, 0.0]), np.array([0.0, step])
            for _ in range(ITERATIONS):
                error = self._bend(rays) - wanted
                if np.nanmax(np.abs(error), initial=0.0) < 1e-12:
                    break
                dx = (self._bend(rays + right) - self._bend(rays - right)) / (2 * step)
                dy = (self._bend(rays + down) - self._bend(rays - down)) / (2 * step)
                determinant = dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]
                change = np.stack(
                    [
                        (error[..., 0] * dy[..., 1] - error[..., 1] * dy[..., 0]) / determinant,
                        (error[..., 1] * dx[..., 0] - error[..., 0] * dx[..., 1]) / determinant,
                    ],
                    axis=-1,
                )
                rays = rays - np.clip(change, -0.5, 0.5)
            lost = ~(np.abs(self._bend(rays) - wanted).max(axis=-1) < 1e-7)
        rays[lost] = np.nan
        return rays


def sampling(target: Lens, source: Lens) -> Array:
    """Return where in `source` each pixel of `target` is seen, (height, width, 2) pixels of `source`; NaN nowhere."""
    return source.project(target.unproject(target.pixels()))


def undistorted(lens: Lens) -> Lens:
    """Return the pinhole of the same size that sees nothing outside the distorted picture.

    Its focal lengths are those of the lens, made longer only where that is needed to leave no empty border.

    Raises:
        ValueError: no zoom up to 8 does: the coefficients are unusable.
    """
    border = _border(lens)
    for zoom in ZOOMS:
        seen = lens.project(lens.pinhole(zoom).unproject(border))
        if (seen >= 0).all() and (seen <= (lens.width, lens.height)).all():
            return lens.pinhole(zoom)
    raise ValueError("no pinhole view lies inside the distorted picture")


def displacement(lens: Lens) -> float:
    """Return how far off, in pixels, a pinhole that ignores the distortion is at worst, NaN if that is unknowable."""
    if not lens.distorted:
        return 0.0
    border = _border(lens)
    exact = lens.unproject(border)
    return float(np.linalg.norm(lens.pinhole().project(exact) - border, axis=-1).max())


def _border(lens: Lens) -> Array:
    x = np.linspace(0.5, lens.width - 0.5, 65)
    y = np.linspace(0.5, lens.height - 0.5, 65)
    low, high = np.full(65, 0.5), np.full(65, lens.height - 0.5)
    left, right = np.full(65, 0.5), np.full(65, lens.width - 0.5)
    sides = [(x, low), (x, high), (left, y), (right, y)]
    return np.concatenate([np.stack(side, axis=-1) for side in sides])


def resample(picture: NDArray[Any], where: Array, *, nearest: bool) -> NDArray[Any]:
    """Return a picture read at other places.

    Args:
        picture: (H, W) or (H, W, C).
        where: (h, w, 2) pixel coordinates (x, y), centres at +0.5; NaN or outside gives 0.
        nearest: take the nearest pixel (depth, ids) instead of interpolating linearly (colour).

    Returns:
        (h, w) or (h, w, C) in the dtype of `picture`.
    """
    import torch
    from torch.nn.functional import grid_sample

    height, width = picture.shape[:2]
    x, y = where[..., 0], where[..., 1]
    outside = ~((x >= 0) & (x <= width) & (y >= 0) & (y <= height))
    grid = np.stack([2 * x / width - 1, 2 * y / height - 1], axis=-1)  # -1 and 1 are the edges, not the centres
    grid[outside] = 0
    layers = (picture[..., None] if picture.ndim == 2 else picture).astype(np.float32)
    read = grid_sample(
        torch.from_numpy(layers).permute(2, 0, 1)[None],
        torch.from_numpy(grid.astype(np.float32))[None],
        mode="nearest" if nearest else "bilinear",
        padding_mode="border",
        align_corners=False,
    )
    result = read[0].permute(1, 2, 0).numpy()
    if np.issubdtype(picture.dtype, np.integer):
        result = np.rint(result)
    result[outside] = 0
    return np.asarray(result.reshape(*where.shape[:2], *picture.shape[2:]).astype(picture.dtype))
