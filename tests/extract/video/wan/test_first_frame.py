"""Pixels of video models against the libraries' own processors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from configs.names import model_names
from extract.model import load_model
from extract.video.base import resize_clip, unit_range
from extract.video.wan.first_frame import area_limited_size, clip_image


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 255, (9, 12, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def test_pixels_are_those_of_the_librarys_video_processor():
    from diffusers.video_processor import VideoProcessor

    frames = [picture(54, 72, seed) for seed in range(3)]
    expected = VideoProcessor(vae_scale_factor=8).preprocess_video([Image.fromarray(f) for f in frames], 48, 80)
    resized = resize_clip(np.stack(frames), (48, 80), Image.Resampling.LANCZOS)
    assert torch.equal(unit_range(torch.from_numpy(resized)[None]), expected)


@pytest.mark.parametrize("size", [(540, 720), (480, 640), (540, 960), (64, 96)])
def test_clip_pixels_are_those_of_the_librarys_processor(size):
    from transformers import CLIPImageProcessorPil

    frame = picture(*size)
    processor = CLIPImageProcessorPil(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224})
    expected = processor(images=Image.fromarray(frame), return_tensors="np")["pixel_values"][0]
    assert np.abs(clip_image(frame, 224) - expected).max() < 1e-6


def test_area_limited_sizes_are_the_published_ones():
    area = 480 * 832
    assert area_limited_size((540, 720), area, 16) == (544, 720)
    assert area_limited_size((480, 640), area, 16) == (544, 720)
    assert area_limited_size((540, 960), area, 16) == (464, 832)


def test_resize_targets_are_the_published_ones():
    targets = {"wan": (480, 832), "cogvideox": (480, 720), "opensora": (480, 848)}
    models = [load_model(name) for name in model_names()]
    video = [model for model in models if model.kind == "vgm" and model.family in targets]
    assert len(video) == 8
    for model in video:
        assert tuple(model.input_size) == targets[model.family], model.name
        assert model.grid == [size // 16 for size in model.input_size], model.name


def test_equal_sizes_are_left_alone():
    frames = np.stack([picture(48, 80)])
    assert np.array_equal(resize_clip(frames, (48, 80), Image.Resampling.LANCZOS), frames)
