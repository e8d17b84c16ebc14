"""Dense prediction head: four trunk stages to one full-size map (DPT, Ranftl et al. 2021, with VGGT's details)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.net.config import DptConfig

UV_BASE = 100.0
UV_GAIN = 0.1


def axis_table(positions: int, extent: float, bands: int, device: torch.device) -> Tensor:
    """Return sines and cosines of one image axis, float64 inside, float32 out: (positions, 2 * bands).

    Positions run linearly over +-extent * (n-1) / n; the bands are 100 ** (-k / bands).
    """
    limit = extent * (positions - 1) / positions
    points = torch.linspace(-limit, limit, positions, dtype=torch.float64, device=device)
    omega = UV_BASE ** (-torch.arange(bands, dtype=torch.float64, device=device) / bands)
    angles = points[:, None] * omega
    return torch.cat([angles.sin(), angles.cos()], dim=-1).float()


def uv_tables(size: tuple[int, int], aspect: float, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the code of the columns (channels/2, width) and of the rows (channels/2, height).

    Args:
        size: height and width of the map.
        aspect: width over height of the image; the image's half diagonal has length 1.
        channels: channels of the map, a multiple of 4.
        device: where the tables go.
    """
    diagonal = math.hypot(aspect, 1.0)
    columns = axis_table(size[1], aspect / diagonal, channels // 4, device)
    rows = axis_table(size[0], 1.0 / diagonal, channels // 4, device)
    return columns.T.contiguous(), rows.T.contiguous()


class UvEmbedding(nn.Module):
    """Adds 0.1 times [sin u, cos u, sin v, cos v] to a map of `channels` channels, in place.

    The two axes separate, so the buffers hold one table per axis and not a whole map. Tables are kept for the size
    and aspect given here; for any other they're recomputed in every call.
    """

    columns: Tensor
    rows: Tensor

    def __init__(self, channels: int, size: tuple[int, int], aspect: float) -> None:
        super().__init__()
        if channels % 4:
            raise ConfigError("wrong channels for a position code", expected="a multiple of 4", found=channels)
        self.channels, self.kept = channels, (size, aspect)
        columns, rows = uv_tables(size, aspect, channels, torch.get_default_device())
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, x: Tensor, aspect: float) -> Tensor:
        """Add the code to (N, channels, height, width) of an image of `aspect` = width / height, in place."""
        height, width = x.shape[-2:]
        columns, rows = self.columns, self.rows
        if ((height, width), aspect) != self.kept:
            columns, rows = uv_tables((height, width), aspect, self.channels, x.device)
        code = torch.cat([columns[:, None].expand(-1, height, -1), rows[:, :, None].expand(-1, -1, width)])
        return x.add_(UV_GAIN * code.to(x.dtype))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) bilinearly with aligned corners; the same tensor if the size is right already."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class ResidualConv(nn.Module):
    """ReLU, 3x3 conv, ReLU, 3x3 conv, plus a skip.

    The skip carries relu(x), not x: the published code applies its first ReLU in place, and published weights need it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, features, h, w), same shape out."""
        skip = F.relu(x)
        # In place where no gradient needs the input: large maps then cost no second allocation.
        out: Tensor = self.conv2(self.conv1(skip).relu_()).add_(skip)
        return out


class Fusion(nn.Module):
    """One level: add a finer map, refine, enlarge to the next level's size.

    The 1x1 convolution comes before the enlargement. Bilinear weights sum to one, so both orders give the same
    numbers, and this one works on a quarter of the pixels.
    """

    def __init__(self, features: int, *, coarsest: bool) -> None:
        super().__init__()
        self.lateral = None if coarsest else ResidualConv(features)
        self.refine = ResidualConv(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, level: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Fuse a level with the coarser result.

        Args:
            level: (N, features, h, w) of this level.
            coarser: result of the level below, same shape; none at the coarsest level.
            size: height and width of the result.

        Returns:
            (N, features, *size).
        """
        x = level
        if self.lateral is not None and coarser is not None:
            x = coarser + self.lateral(level)
        return resize(self.out_conv(self.refine(x)), size)


def stage_indices(wanted: Sequence[int], depth: int) -> list[int]:
    """Return which trunk pairs feed the four stages.

    The wanted ones if the trunk has them (or has no blocks at all, when every stage is the same); otherwise
    round((i + 1) * (depth - 1) / 4), half to even.
    """
    if depth == 0 or max(wanted) < depth:
        return list(wanted)
    return [min(max(round((i + 1) * (depth - 1) / 4), 0), depth - 1) for i in range(4)]


def output_size(image_size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return height and width of the predicted maps for an image of height and width `image_size`."""
    return max(round(image_size[0] * scale), 1), max(round(image_size[1] * scale), 1)


class DptHead(nn.Module):
    """Maps four stages of patch tokens to `outputs` raw channels per pixel.

    Args:
        width: channels of a stage.
        grid: rows and columns of the patch grid.
        outputs: channels of the result.
        config: sizes.
        image_size: height and width the position codes are prepared for; other sizes work, a little slower.
    """

    def __init__(
        self, width: int, grid: tuple[int, int], outputs: int, config: DptConfig, image_size: tuple[int, int]
    ) -> None:
        super().__init__()
        _check(config)
        self.grid, self.output_scale = grid, config.output_scale
        features, aspect = config.features, image_size[1] / image_size[0]
        # One norm for all four stages, as published.
        self.norm = nn.LayerNorm(width)
        self.projects = nn.ModuleList(nn.Conv2d(width, channels, 1) for channels in config.stage_channels)
        self.codes = nn.ModuleList(UvEmbedding(channels, grid, aspect) for channels in config.stage_channels)
        self.resizes = nn.ModuleList(
            nn.Identity() if factor == 1 else nn.ConvTranspose2d(channels, channels, factor, stride=factor)
            for factor, channels in zip(config.upsample, config.stage_channels, strict=False)
        )
        last = config.stage_channels[-1]
        self.resizes.append(nn.Conv2d(last, last, 3, stride=2, padding=1))
        self.laterals = nn.ModuleList(
            nn.Conv2d(channels, features, 3, padding=1, bias=False) for channels in config.stage_channels
        )
        self.fusions = nn.ModuleList(Fusion(features, coarsest=level == 3) for level in range(4))
        self.output_conv1 = nn.Conv2d(features, features // 2, 3, padding=1)
        self.output_code = UvEmbedding(features // 2, output_size(image_size, config.output_scale), aspect)
        self.output_conv2 = nn.Conv2d(features // 2, config.hidden, 3, padding=1)
        self.output_conv3 = nn.Conv2d(config.hidden, outputs, 1)
        self.cells = (
            CellPixels(width, grid, outputs, output_size(image_size, config.output_scale)) if config.cells else None
        )
        if self.cells is not None:
            for parameter in self.output_conv3.parameters():
                nn.init.zeros_(parameter)

    def forward(self, stages: Sequence[Tensor], image_size: tuple[int, int]) -> Tensor:
        """Predict the raw map.

        Args:
            stages: four tensors (B, S, h*w, width) of patch tokens, finest level first.
            image_size: height and width of the image.

        Returns:
            (B, S, H, W, outputs) with H, W = `output_size(image_size, output_scale)`.
        """
        b, s = stages[0].shape[:2]
        aspect = image_size[1] / image_size[0]
        maps: list[Tensor] = []
        for stage, project, code, enlarge, lateral in zip(
            stages, self.projects, self.codes, self.resizes, self.laterals, strict=True
        ):
            x = self.norm(stage).flatten(0, 1).unflatten(1, self.grid).permute(0, 3, 1, 2)
            maps.append(lateral(enlarge(code(project(x), aspect))))
        x = None
        for level in (3, 2, 1, 0):
            height, width = maps[0].shape[-2:]
            size = tuple(maps[level - 1].shape[-2:]) if level else (2 * height, 2 * width)
            x = self.fusions[level](maps[level], x, size)
        x = resize(self.output_conv1(x), output_size(image_size, self.output_scale))
        x = self.output_conv2(self.output_code(x, aspect)).relu_()
        x = self.output_conv3(x)
        if self.cells is not None:
            x = x + self.cells(stages[-1].flatten(0, 1), tuple(x.shape[-2:]))
        out: Tensor = x.permute(0, 2, 3, 1).unflatten(0, (b, s))
        return out


class CellPixels(nn.Module):
    """One Linear from a patch token to the pixels of its cell (the linear head of DUSt3R, Wang et al. 2024).

    Args:
        width: channels of a stage.
        grid: rows and columns of the patch grid.
        outputs: channels per pixel.
        size: height and width of the map; each cell predicts as many pixels as it covers, rounded up.
    """

    def __init__(self, width: int, grid: tuple[int, int], outputs: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.factor = max(-(-size[0] // grid[0]), -(-size[1] // grid[1]), 1)
        self.project = nn.Linear(width, outputs * self.factor**2)

    def forward(self, patches: Tensor, size: tuple[int, int]) -> Tensor:
        """Map patches (N, h*w, width) to (N, outputs, *size)."""
        x = self.project(patches).transpose(1, 2).unflatten(2, self.grid)
        x = F.pixel_shuffle(x, self.factor)
        return x if tuple(x.shape[-2:]) == size else F.interpolate(x, size, mode="bilinear", align_corners=False)


def _check(config: DptConfig) -> None:
    wrong: tuple[str, str, object] | None = None
    if len(config.stage_channels) != 4 or any(channels % 4 for channels in config.stage_channels):
        wrong = ("stage_channels", "four multiples of 4", config.stage_channels)
    elif len(config.upsample) != 3:
        wrong = ("upsample", "three factors", config.upsample)
    elif len(config.stages) != 4:
        wrong = ("stages", "four trunk pairs", config.stages)
    elif config.features % 8:
        wrong = ("features", "a multiple of 8", config.features)
    elif config.shared and config.confidence:
        wrong = ("confidence", "false with shared=true: published weights have one network per map", True)
    if wrong:
        raise ConfigError(f"dpt.{wrong[0]} doesn't fit", expected=wrong[1], found=wrong[2], fix=f"set dpt.{wrong[0]}")
