"""From decoded frames to the pixel tensors of vision-language models: resize, normalise, cut into patches.

Resizing is Pillow's, on the CPU, because it is part of what a model sees: other resamplers differ by several grey
levels. The arithmetic after it is stated here once and is equal, bit for bit, to the Pillow-based image processors of
transformers; it runs on the device, so that 8-bit pixels and not floats travel there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from configs.errors import DatasetError

if TYPE_CHECKING:
    import torch

PREPROCESS_VERSION = 1
"""Raised when any value made here would change; part of every fingerprint that depends on it."""

MAX_ASPECT_RATIO = 200
"""Longer side over shorter side beyond which the published models refuse a picture."""


def smart_resize(height: int, width: int, *, factor: int, min_pixels: int, max_pixels: int) -> tuple[int, int]:
    """Return the size that the Qwen-VL models see: multiples of `factor`, nearly the same aspect, within the budget.

    Both sides are rounded to a multiple of `factor` (half to even); if the area then leaves the budget, both are
    scaled by one number and rounded towards the inside of the budget.

    Args:
        height, width: size of the picture in pixels.
        factor: patch size times merge size, pixels per visual token side.
        min_pixels, max_pixels: inclusive budget of the area.

    Returns:
        (height, width).

    Raises:
        DatasetError: the picture is more than 200 times longer than wide.
    """
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise DatasetError(
            "a frame is too elongated for this model",
            expected=f"an aspect ratio of at most {MAX_ASPECT_RATIO}",
            found=f"{width} x {height}",
        )
    rows, columns = (max(1, round(side / factor)) * factor for side in (height, width))
    if rows * columns > max_pixels:
        shrink = math.sqrt(height * width / max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / factor)) * factor for side in (height, width))
    elif rows * columns < min_pixels:
        grow = math.sqrt(min_pixels / (height * width))
        rows, columns = (math.ceil(side * grow / factor) * factor for side in (height, width))
    return rows, columns


def resize_frames(frames: NDArray[np.uint8], *sizes: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize frames with Pillow's bicubic filter to each (height, width) of `sizes` in turn, ignoring the aspect.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        sizes: one or more targets; the published protocol resizes twice for the Qwen models.

    Returns:
        (T, H', W', 3) uint8 RGB of the last size.
    """
    height, width = sizes[-1]
    pixels = np.empty((len(frames), height, width, 3), np.uint8)
    for target, frame in zip(pixels, frames, strict=True):
        picture = Image.fromarray(frame)
        for rows, columns in sizes:
            picture = picture.resize((columns, rows), Image.Resampling.BICUBIC)
        target[...] = np.asarray(picture)
    return pixels


def normalise(pixels: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return ((pixels / 255) - mean) / std per channel.

    Args:
        pixels: (..., H, W, 3) uint8.
        mean, std: three values each, on the scale 0..1.

    Returns:
        (..., 3, H, W) float32, not contiguous.
    """
    import torch

    # divisors are tensors because CUDA turns a division by a number into a product with its rounded reciprocal
    scale, shift, spread = (
        torch.tensor(value, dtype=torch.float32, device=pixels.device) for value in (255.0, list(mean), list(std))
    )
    return ((pixels.float() / scale - shift) / spread).movedim(-1, -3)


def patchify(images: torch.Tensor, *, patch: int, merge: int, temporal: int) -> torch.Tensor:
    """Cut still images into the rows that the vision towers of Qwen2.5-VL and Qwen3-VL take.

    Patches are ordered by merge cell (row-major), then by their place inside the cell (row-major), so that every
    `merge`^2 rows become one visual token. Each row is (channel, time, y, x); a still image fills the time axis with
    copies of itself.

    Args:
        images: (N, C, H, W), H and W multiples of patch * merge.
        patch: side of a patch in pixels.
        merge: patches per visual token side.
        temporal: frames per patch in time.

    Returns:
        (N * H/patch * W/patch, C * temporal * patch * patch), same dtype.
    """
    count, channels, height, width = images.shape
    rows, columns = height // (patch * merge), width // (patch * merge)
    cells = images.reshape(count, channels, rows, merge, patch, columns, merge, patch)
    cells = cells.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)  # N, rows, columns, merge, merge, C, 1, patch, patch
    cells = cells.expand(*cells.shape[:6], temporal, patch, patch)
    return cells.reshape(count * rows * columns * merge * merge, channels * temporal * patch * patch)
