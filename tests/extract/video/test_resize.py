"""Resizing of clips for video models, against the library's own processor and the published sizes."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from configs.names import model_names
from extract.model import load_model
from extract.video.base import resize_clip, unit_range
from tests.extract.pictures import picture


def test_pixels_are_those_of_the_librarys_video_processor() -> None:
    from diffusers.video_processor import VideoProcessor

    frames = [picture(54, 72, seed) for seed in range(3)]
    expected = VideoProcessor(vae_scale_factor=8).preprocess_video([Image.fromarray(f) for f in frames], 48, 80)
    resized = resize_clip(np.stack(frames), (48, 80), Image.Resampling.LANCZOS)
    assert torch.equal(unit_range(torch.from_numpy(resized)[None]), expected)


def test_resize_targets_are_the_published_ones() -> None:
    targets = {"wan": (480, 832), "cogvideox": (480, 720), "opensora": (480, 848)}
    models = [load_model(name) for name in model_names()]
    video = [model for model in models if model.kind == "vgm" and model.family in targets]
    assert len(video) == 8
    for model in video:
        assert tuple(model.input_size) == targets[model.family], model.name
        assert model.grid == [size // 16 for size in model.input_size], model.name


def test_equal_sizes_are_left_alone() -> None:
    frames = np.stack([picture(48, 80)])
    assert np.array_equal(resize_clip(frames, (48, 80), Image.Resampling.LANCZOS), frames)
