"""Resizing, normalising and cutting into patches; no network involved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from configs.errors import DatasetError
from extract.adapter import ClipInput
from extract.vlm.preprocess import normalise, patchify, resize_frames, smart_resize

LOOKS = {
    "qwen3": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "qwen2.5": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "internvl": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def frames_of(height: int, width: int, count: int = 1) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "factor", "budget", "expected"),
    [
        ((540, 960), 32, (204, 1258291), (544, 960)),
        ((540, 960), 28, (156, 642252), (532, 952)),
        ((960, 540), 32, (204, 1258291), (960, 544)),
        ((128, 128), 32, (204, 1258291), (128, 128)),
        ((540, 720), 32, (204, 1258291), (544, 704)),  # 22.5 cells round to the even number
        ((10, 10), 32, (204, 1258291), (32, 32)),
        ((540, 960), 32, (204, 130000), (256, 480)),  # budget binds: both sides shrink, rounded down
        ((60, 100), 32, (65536, 1258291), (224, 352)),  # and grow, rounded up
    ],
)
def test_smart_resize(size: Any, factor: int, budget: Any, expected: Any) -> None:
    assert smart_resize(*size, factor=factor, min_pixels=budget[0], max_pixels=budget[1]) == expected


def test_smart_resize_equals_the_library() -> None:
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize as official

    generator = np.random.default_rng(1)
    for height, width in generator.integers(32, 2000, (300, 2)).tolist():
        for factor, low, high in ((28, 3136, 642252), (32, 4096, 1258291), (32, 65536, 100000)):
            ours = smart_resize(height, width, factor=factor, min_pixels=low, max_pixels=high)
            assert ours == official(height, width, factor, low, high)


def test_an_endless_strip_is_refused() -> None:
    with pytest.raises(DatasetError, match="too elongated"):
        smart_resize(1, 500, factor=32, min_pixels=204, max_pixels=1258291)


@pytest.mark.parametrize("look", LOOKS)
def test_every_grey_level_is_normalised_as_by_the_processors(look: str) -> None:
    """All 256 values in all channels, bit for bit."""
    from transformers import Qwen2VLImageProcessorPil

    mean, std = LOOKS[look]
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    processor = Qwen2VLImageProcessorPil()
    official = processor.normalize(processor.rescale(levels.transpose(2, 0, 1), 1 / 255), list(mean), list(std))
    assert np.array_equal(normalise(torch.from_numpy(levels), mean, std).numpy(), official)


@pytest.mark.parametrize(("look", "patch"), [("qwen3", 16), ("qwen2.5", 14)])
def test_pixels_equal_the_pillow_processor_of_qwen(look: str, patch: int) -> None:
    """Full-size, non-square, two images: rows and grid bit for bit."""
    from transformers import Qwen2VLImageProcessorPil

    mean, std = LOOKS[look]
    frames = frames_of(540, 960, 2)
    size = smart_resize(540, 960, factor=2 * patch, min_pixels=204, max_pixels=1258291)
    images = normalise(torch.from_numpy(resize_frames(frames, size)), mean, std)
    budget = {"shortest_edge": 204, "longest_edge": 1258291}
    processor = Qwen2VLImageProcessorPil(patch_size=patch, image_mean=list(mean), image_std=list(std), size=budget)
    official = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")
    assert torch.equal(patchify(images, patch=patch, merge=2, temporal=2), official["pixel_values"])
    assert official["image_grid_thw"].tolist() == [[1, size[0] // patch, size[1] // patch]] * 2


def test_pixels_equal_the_pillow_processor_of_internvl() -> None:
    from transformers import GotOcr2ImageProcessorPil

    mean, std = LOOKS["internvl"]
    frames = frames_of(540, 720, 2)
    images = normalise(torch.from_numpy(resize_frames(frames, (448, 448))), mean, std)
    processor = GotOcr2ImageProcessorPil(
        size={"height": 448, "width": 448}, crop_to_patches=False, image_mean=list(mean), image_std=list(std)
    )
    official = processor([Image.fromarray(frame) for frame in frames], return_tensors="pt")["pixel_values"]
    assert torch.equal(images, official)


@pytest.mark.parametrize("size", [(540, 960), (540, 720), (128, 128), (960, 540)])
@pytest.mark.parametrize(
    ("model", "expected"),
    [("qwen3-vl-8b", (544, 960)), ("qwen2.5-vl-7b", (532, 952)), ("internvl3-8b", (448, 448))],
)
def test_any_frame_is_squeezed_to_the_models_size(kit: Any, model: str, expected: Any, size: tuple[int, int]) -> None:
    adapter = kit.make(model)
    clip = ClipInput(clip_id="c", frames=frames_of(*size, 2), length=2)
    pixels = adapter.preprocess(clip)["pixels"]
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (2, *expected, 3)
    assert adapter.spec.input_size == expected


def test_qwen_frames_are_squeezed_twice(kit: Any) -> None:
    """To 960x540 first, as published: straight to 960x544 gives other pixels."""
    frames = frames_of(270, 360, 1)
    pixels = kit.make("qwen3-vl-8b").preprocess(ClipInput(clip_id="c", frames=frames, length=1))["pixels"][0]
    bicubic = Image.Resampling.BICUBIC
    picture = Image.fromarray(frames[0])
    assert np.array_equal(pixels, np.asarray(picture.resize((960, 540), bicubic).resize((960, 544), bicubic)))
    assert not np.array_equal(pixels, np.asarray(picture.resize((960, 544), bicubic)))
