from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.net.config import DptConfig
from probe.net.dpt import DptHead, UvEmbedding, output_size, stage_indices
from tests.probe.gradients import gradient

TINY = DptConfig(
    features=8, hidden=4, stage_channels=[8, 12, 16, 16], upsample=[4, 2, 1], stages=[0, 1, 2, 3], confidence=True
)


def slow_uv(height: int, width: int, channels: int, aspect: float) -> Tensor:
    """Channels [sin u, cos u, sin v, cos v], number by number."""
    q, diagonal = channels // 4, math.sqrt(aspect**2 + 1)
    out = torch.zeros(channels, height, width, dtype=torch.float64)
    for row in range(height):
        for column in range(width):
            u = (aspect / diagonal) * (2 * column + 1 - width) / width
            v = (1 / diagonal) * (2 * row + 1 - height) / height
            for k in range(q):
                omega = 100 ** (-k / q)
                for block, value in enumerate(
                    (math.sin(u * omega), math.cos(u * omega), math.sin(v * omega), math.cos(v * omega))
                ):
                    out[block * q + k, row, column] = value
    return out.float()


def test_position_code_equals_the_definition() -> None:
    aspect = 518 / 294
    code = UvEmbedding(12, (3, 5), aspect)
    found = code(torch.zeros(1, 12, 3, 5), aspect)[0]
    torch.testing.assert_close(found, 0.1 * slow_uv(3, 5, 12, aspect), atol=1e-6, rtol=0)


def test_position_code_of_another_size_or_aspect() -> None:
    code = UvEmbedding(8, (3, 5), 1.5)
    for size, aspect in (((4, 2), 1.5), ((3, 5), 0.75), ((1, 1), 1.0)):
        found = code(torch.zeros(1, 8, *size), aspect)[0]
        torch.testing.assert_close(found, 0.1 * slow_uv(*size, 8, aspect), atol=1e-6, rtol=0)


def test_position_code_is_kept_as_buffers_outside_checkpoints() -> None:
    code = UvEmbedding(8, (3, 5), 1.5)
    assert {name for name, _ in code.named_buffers()} == {"columns", "rows"}
    assert code.state_dict() == {}


def naive_dpt(head: DptHead, stages: list[Tensor], image_size: tuple[int, int]) -> Tensor:
    """Follow the published order: ReLU in place, 1x1 convolution after each enlargement, full position maps."""
    (h, w), aspect = head.grid, image_size[1] / image_size[0]
    fusions: Any = head.fusions

    def bigger(x: Tensor, size: tuple[int, int]) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    def unit(block: Any, x: Tensor) -> Tensor:
        x = x.clone()
        out = F.relu_(x)
        out = F.conv2d(out, block.conv1.weight, block.conv1.bias, padding=1)
        out = F.conv2d(F.relu(out), block.conv2.weight, block.conv2.bias, padding=1)
        return out + x

    maps = []
    for j, stage in enumerate(stages):
        x = F.layer_norm(stage.flatten(0, 1), stage.shape[-1:], head.norm.weight, head.norm.bias)
        x = head.projects[j](x.permute(0, 2, 1).reshape(len(x), -1, h, w))
        x = x + 0.1 * slow_uv(h, w, x.shape[1], aspect)
        maps.append(head.laterals[j](head.resizes[j](x)))
    sizes = [(2 * maps[0].shape[2], 2 * maps[0].shape[3]), *(tuple(m.shape[2:]) for m in maps[:3])]
    x = fusions[3].out_conv(bigger(unit(fusions[3].refine, maps[3]), sizes[3]))
    for level in (2, 1, 0):
        fusion = fusions[level]
        x = x + unit(fusion.lateral, maps[level])
        x = fusion.out_conv(bigger(unit(fusion.refine, x), sizes[level]))
    x = bigger(head.output_conv1(x), image_size)
    x = x + 0.1 * slow_uv(*image_size, x.shape[1], aspect)
    x = head.output_conv3(F.relu(head.output_conv2(x))).permute(0, 2, 3, 1)
    found: Tensor = x.reshape(*stages[0].shape[:2], *x.shape[1:])
    return found


@pytest.mark.parametrize(("grid", "image"), [((4, 6), (20, 33)), ((3, 5), (42, 70)), ((1, 1), (9, 7))])
def test_equals_the_published_order_of_operations(grid: tuple[int, int], image: tuple[int, int]) -> None:
    head = DptHead(16, grid, 2, TINY, image)
    stages = [torch.randn(1, 2, grid[0] * grid[1], 16) for _ in range(4)]
    torch.testing.assert_close(head(stages, image), naive_dpt(head, stages, image), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("grid", [(15, 26), (17, 30), (16, 16), (8, 8), (4, 6), (1, 3)])
@pytest.mark.parametrize("upsample", [[4, 2, 1], [2, 1, 1]])
def test_shapes(grid: tuple[int, int], upsample: list[int]) -> None:
    config = dataclasses.replace(TINY, upsample=upsample, output_scale=0.25)
    image = (14 * grid[0], 14 * grid[1])
    head = DptHead(16, grid, 4, config, image)
    found = head([torch.randn(1, 2, grid[0] * grid[1], 16)] * 4, image)
    assert tuple(found.shape) == (1, 2, *output_size(image, 0.25), 4)


def test_images_of_another_size() -> None:
    head = DptHead(16, (4, 6), 2, TINY, (20, 33))
    stages = [torch.randn(1, 1, 24, 16) for _ in range(4)]
    torch.testing.assert_close(head(stages, (30, 18)), naive_dpt(head, stages, (30, 18)), atol=2e-6, rtol=1e-5)


def test_cells_predict_their_own_pixels_and_start_alone() -> None:
    config = dataclasses.replace(TINY, cells=True, upsample=[1, 1, 1], confidence=False)
    head = DptHead(16, (4, 6), 3, config, (8, 12))
    assert head.cells is not None
    stages = [torch.randn(2, 1, 24, 16) for _ in range(4)]
    expected = torch.empty(2, 1, 8, 12, 3)
    weights = head.cells.project.weight.view(3, 2, 2, -1)
    biases = head.cells.project.bias.view(3, 2, 2)
    for row in range(8):
        for column in range(12):
            token = stages[-1][:, :, (row // 2) * 6 + column // 2]
            part = (slice(None), row % 2, column % 2)
            expected[:, :, row, column] = token @ weights[part].T + biases[part]
    torch.testing.assert_close(head(stages, (8, 12)), expected)
    assert tuple(head(stages, (9, 13)).shape) == (2, 1, 9, 13, 3)
    torch.autograd.backward(head(stages, (8, 12)).square().sum())
    assert gradient(head.output_conv3.weight).abs().max() > 0


@pytest.mark.parametrize(
    ("depth", "expected"),
    [(0, [0, 1, 2, 3]), (1, [0] * 4), (2, [0, 0, 1, 1]), (3, [0, 1, 2, 2]), (4, [0, 1, 2, 3]), (8, [0, 1, 2, 3])],
)
def test_published_stages(depth: int, expected: list[int]) -> None:
    assert stage_indices([0, 1, 2, 3], depth) == expected


def test_automatic_rule_when_the_wanted_stages_are_beyond_the_trunk() -> None:
    assert stage_indices([9, 9, 9, 9], 4) == [1, 2, 2, 3]
    assert stage_indices([9, 9, 9, 9], 8) == [2, 4, 5, 7]


@pytest.mark.parametrize(
    "change",
    [
        {"stage_channels": [8, 8, 8]},
        {"stage_channels": [8, 8, 8, 10]},
        {"upsample": [2, 1]},
        {"stages": [0]},
        {"features": 12},
        {"shared": True},
    ],
)
def test_sizes_that_do_not_fit(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"dpt\."):
        DptHead(16, (4, 6), 2, dataclasses.replace(TINY, **change), (20, 33))
