"""Multi-scale differences of the error map: penalises wrong local shape. Weight 0 in the published recipe."""

from __future__ import annotations

import torch
from torch import Tensor

from probe.tasks.geometry.dense_loss import require_maps

SCALES = 4
CLAMP = 100.0


def gradient_term(prediction: Tensor, target: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Sum over the first and the other views of the mean over four scales (strides 1, 2, 4, 8).

    Per scale, d = mask * (prediction - target); absolute differences of horizontal and vertical neighbours, clamped
    at 100, times the confidence of the second pixel, where both pixels are valid; divided by valid pixels times
    channels.

    Args:
        prediction, target: (B, S, H, W, c) float.
        weight: (B, S, H, W) float.
        mask: (B, S, H, W) float, 0 or 1.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_maps(prediction, target, weight, mask)
    error = (prediction - target) * mask[..., None]
    total = prediction.new_zeros(())
    for views in (slice(0, 1), slice(1, None)):
        if error[:, views].shape[1] == 0:
            continue
        for scale in range(SCALES):
            step = 2**scale
            pick = (slice(None), views, slice(None, None, step), slice(None, None, step))
            total = total + _one_scale(error[pick], weight[pick], mask[pick]) / SCALES
    return total


def _one_scale(error: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    total = error.new_zeros(())
    for axis in (2, 3):
        size = error.shape[axis]
        first, second = torch.arange(size - 1, device=error.device), torch.arange(1, size, device=error.device)
        step = (error.index_select(axis, second) - error.index_select(axis, first)).abs().clamp(max=CLAMP)
        both = mask.index_select(axis, first) * mask.index_select(axis, second)
        total = total + (step.sum(dim=-1) * both * weight.index_select(axis, second)).sum()
    return total / (mask.sum() * error.shape[-1]).clamp(min=1)
