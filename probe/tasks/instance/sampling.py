"""The embeddings that the instance loss compares: those at drawn pixels (`data.dataset.targets.sample_pixels`)."""

from __future__ import annotations

import torch
from torch import Tensor

from probe.net.loss_terms import require_tensor


def embeddings_at(embeddings: Tensor, pixels: Tensor, mask_size: tuple[int, int]) -> Tensor:
    """Read embeddings bilinearly at pixels of a larger mask and give them unit length again.

    Equal to enlarging all maps to the mask's size (`align_corners=False`), normalising and picking, at a small part of
    the cost: four cells per pixel are touched. Written as an index look-up rather than `grid_sample`, because pixels
    of one clip lie in several views, and because its backward pass has a deterministic version on GPUs.

    Args:
        embeddings: (B, S, E, h, w) float.
        pixels: (B, N, 3) view, row and column in the mask, integer or real; pixel i has its centre at i + 0.5.
        mask_size: height and width of the mask.

    Returns:
        (B, N, E) unit vectors, float32.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_tensor(embeddings, (None, None, None, None, None), "float", "embeddings", fix="pass (B, S, E, h, w) maps")
    require_tensor(pixels, (len(embeddings), None, 3), "number", "sampled pixels", fix="pass view, row and column")
    b, s, e, h, w = embeddings.shape
    table = embeddings.permute(0, 1, 3, 4, 2).reshape(-1, e).float()
    view = pixels[..., 0].long()
    top, down = _neighbours(pixels[..., 1], h, mask_size[0])
    left, right = _neighbours(pixels[..., 2], w, mask_size[1])
    first = (torch.arange(b, device=view.device)[:, None] * s + view) * (h * w)
    total = table.new_zeros(*view.shape, e)
    for row, row_weight in (top, down):
        for column, column_weight in (left, right):
            weight = (row_weight * column_weight)[..., None]
            total = total + weight * table.index_select(0, (first + row * w + column).flatten()).view_as(total)
    return torch.nn.functional.normalize(total, dim=-1, eps=1e-12)


def _neighbours(pixel: Tensor, cells: int, size: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return the two cells next to a pixel's centre along one axis, each with its weight; borders are repeated."""
    position = ((pixel.float() + 0.5) * (cells / size) - 0.5).clamp(0, cells - 1)
    low = position.floor().long()
    weight = position - low
    return (low, 1 - weight), ((low + 1).clamp(max=cells - 1), weight)
