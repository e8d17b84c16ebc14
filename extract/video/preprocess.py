"""Frames to the pixels of a video model: PIL resize on the CPU, scaling to [-1, 1] on the device.

Only PIL is used, with or without torchvision on the machine: their resizes differ by a few grey levels, and features
must not depend on what else is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def resize(frame: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    """Resize one (H, W, 3) uint8 frame to `size` = (height, width); its aspect is not kept (published protocol)."""
    if frame.shape[:2] == size:
        return frame
    return np.asarray(Image.fromarray(frame).resize((size[1], size[0]), method))


def resize_clip(frames: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling) -> NDArray[np.uint8]:
    """Resize (n, H, W, 3) uint8 frames to (n, *size, 3)."""
    out = np.empty((len(frames), *size, 3), np.uint8)
    for index, frame in enumerate(frames):
        out[index] = resize(frame, size, method)
    return out


def unit_range(pixels: Tensor) -> Tensor:
    """Turn (..., n, h, w, 3) uint8 pixels into (..., 3, n, h, w) float32 in [-1, 1]."""
    return pixels.movedim(-1, -4).float().div(255.0).mul(2.0).sub(1.0)


def area_limited_size(size: tuple[int, int], area: int, multiple: int) -> tuple[int, int]:
    """Return (height, width) of the same aspect as `size` with about `area` pixels, floored to multiples."""
    aspect = size[0] / size[1]
    height, width = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
    return height // multiple * multiple, width // multiple * multiple


def clip_image(frame: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """Prepare one (H, W, 3) uint8 frame for a CLIP image encoder: short side to `side`, centre crop, normalise.

    Returns:
        (3, side, side) float32.
    """
    height, width = frame.shape[:2]
    scale = side / min(height, width)
    resized = resize(frame, (max(side, int(height * scale)), max(side, int(width * scale))), Image.Resampling.BICUBIC)
    top, left = (resized.shape[0] - side) // 2, (resized.shape[1] - side) // 2
    crop = resized[top : top + side, left : left + side].astype(np.float32) * np.float32(1 / 255)
    normalised = (crop - np.array(CLIP_MEAN, np.float32)) / np.array(CLIP_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1), dtype=np.float32)
