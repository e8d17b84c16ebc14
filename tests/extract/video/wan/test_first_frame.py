"""What Wan sees of the first frame, against the library's own processor and the published sizes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from extract.video.wan.first_frame import area_limited_size, clip_image
from tests.extract.pictures import picture


@pytest.mark.parametrize("size", [(540, 720), (480, 640), (540, 960), (64, 96)])
def test_clip_pixels_are_those_of_the_librarys_processor(size: tuple[int, int]) -> None:
    from transformers import CLIPImageProcessorPil

    frame = picture(*size)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    expected = processor(images=Image.fromarray(frame), return_tensors="np")["pixel_values"][0]
    assert np.abs(clip_image(frame, 224) - expected).max() < 1e-6


def test_area_limited_sizes_are_the_published_ones() -> None:
    area = 480 * 832
    assert area_limited_size((540, 720), area, 16) == (544, 720)
    assert area_limited_size((480, 640), area, 16) == (544, 720)
    assert area_limited_size((540, 960), area, 16) == (464, 832)
