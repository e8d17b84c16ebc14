"""Fixed sinusoidal code of the position in the image, added inside the dense heads (as in VGGT)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from configs.errors import ConfigError

BASE = 100.0
GAIN = 0.1


def axis_table(positions: int, extent: float, bands: int, device: torch.device) -> Tensor:
    """Return sines and cosines of one image axis, float64 inside, float32 out: (positions, 2 * bands).

    Positions run linearly over +-extent * (n-1) / n; the bands are 100 ** (-k / bands).
    """
    limit = extent * (positions - 1) / positions
    points = torch.linspace(-limit, limit, positions, dtype=torch.float64, device=device)
    omega = BASE ** (-torch.arange(bands, dtype=torch.float64, device=device) / bands)
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
    and aspect given here; for any other they're made anew in every call.
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
        return x.add_(GAIN * code.to(x.dtype))
