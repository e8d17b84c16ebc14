"""Arrays as embedded pictures: frames as WebP, maps as PNG, both as data URIs."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from probe.report.page.document import Image

FRAME_WIDTH = 256
"""Pixels that a frame is reduced to."""
MAP_WIDTH = 192
"""Pixels that a map is reduced to; coarser maps keep their cells and are enlarged by the browser."""


def frame_image(frame: NDArray[np.uint8], alt: str, label: str = "") -> Image:
    """Return a video frame.

    Args:
        frame: (H, W, 3) uint8 RGB.
        alt: what a screen reader says.
        label: small text below.
    """
    picture = Pillow.fromarray(frame)
    if picture.width > FRAME_WIDTH:
        height = max(1, round(picture.height * FRAME_WIDTH / picture.width))
        picture = picture.resize((FRAME_WIDTH, height), Pillow.Resampling.LANCZOS)
    return _embed(picture, "webp", alt, label, False, quality=80)


def map_image(colours: NDArray[np.uint8], alt: str, label: str = "", size: tuple[int, int] | None = None) -> Image:
    """Return a map of cells or pixels, enlarged without blurring.

    Args:
        colours: (h, w, 3) uint8 RGB.
        alt: what a screen reader says.
        label: small text below.
        size: height and width whose proportions the picture is shown in; default its own.
    """
    picture = Pillow.fromarray(np.ascontiguousarray(colours, np.uint8))
    if picture.width > MAP_WIDTH:
        height = max(1, round(picture.height * MAP_WIDTH / picture.width))
        picture = picture.resize((MAP_WIDTH, height), Pillow.Resampling.NEAREST)
    height, width = size or (picture.height, picture.width)
    return _embed(picture, "png", alt, label, True, shown=(width, height), optimize=True)


def _embed(
    picture: Pillow.Image, form: str, alt: str, label: str, pixelated: bool, shown: Any = None, **options: Any
) -> Image:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    uri = f"data:image/{form};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
    width, height = shown or picture.size
    return Image(uri, alt, width, height, label, pixelated)
