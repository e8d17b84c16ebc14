"""What Wan's image-to-video models see of the first frame: twice resized picture, CLIP pixels, CLIP encoder.

The frame is first resized to the model's area at its own aspect; CLIP gets that picture, the VAE gets it squeezed to
the size of the video (published protocol: resized twice).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from extract.video.base import resize
from extract.weights.checkpoint import seeded
from extract.weights.libraries import load_library_model
from extract.weights.parts import WeightSource

if TYPE_CHECKING:
    import torch
    from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def first_frame_inputs(
    frame: NDArray[np.uint8], size: tuple[int, int], method: Image.Resampling, clip_side: int
) -> dict[str, Tensor]:
    """Return `condition` (height, width, 3) uint8 and `clip` (3, clip_side, clip_side) float32 of a frame (H, W, 3).

    Args:
        frame: the first frame of the clip, uint8.
        size: (height, width) of the video.
        method: how the picture is squeezed to that size.
        clip_side: pixels per side that the CLIP encoder takes.
    """
    import torch

    limited = area_limited_size(frame.shape[:2], size[0] * size[1], 16)
    picture = resize(frame, limited, Image.Resampling.BICUBIC)
    condition = torch.from_numpy(resize(picture, size, method).copy())
    return {"condition": condition, "clip": torch.from_numpy(clip_image(picture, clip_side))}


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


def load_image_encoder(
    cls: Any, source: WeightSource, architecture: Mapping[str, Any], dtype: torch.dtype, device: str
) -> Any:
    """Load a CLIP image encoder, or make one from the seed."""
    import torch

    if "image_encoder" in source.folders:
        return load_library_model(cls, source.folders["image_encoder"], dtype=dtype).to(device)
    with seeded(source.seed), torch.device(device):
        return cls(cls.config_class(**architecture)).to(device, dtype).eval().requires_grad_(False)
