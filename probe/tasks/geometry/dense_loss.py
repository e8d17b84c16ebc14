"""Losses of dense maps: how far predicted points or depths are from the target, weighted by the target's confidence."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from probe.net.loss_terms import require_tensor

CLAMP = 100.0
SCALE_RANGE = (1e-3, 1e3)


def require_maps(prediction: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor) -> None:
    """Refuse maps that don't fit together.

    Args:
        prediction, target: (B, S, H, W, c) float.
        weight: (B, S, H, W) float or none.
        mask: (B, S, H, W) float.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_tensor(prediction, (None, None, None, None, None), "float", "predicted maps")
    require_tensor(target, prediction.shape, "float", "true maps")
    require_tensor(mask, prediction.shape[:4], "float", "mask")
    if weight is not None:
        require_tensor(weight, prediction.shape[:4], "float", "weights")


def clip_scale(points: Tensor, mask: Tensor) -> Tensor:
    """Mean distance from the origin over a clip's masked points, in [1e-3, 1e3]; gradients flow through it.

    Args:
        points: (B, S, H, W, 3) float.
        mask: (B, S, H, W) float, 0 or 1.

    Returns:
        (B, 1, 1, 1, 1): sum(mask * |x|) / (sum(mask) + 1e-3) (Wang et al. 2024, DUSt3R).

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_tensor(points, (None, None, None, None, 3), "float", "points")
    require_tensor(mask, points.shape[:4], "float", "mask")
    total = (torch.linalg.vector_norm(points, dim=-1) * mask).sum(dim=(1, 2, 3))
    scale: Tensor = total / (mask.sum(dim=(1, 2, 3)) + 1e-3)
    return scale.clamp(*SCALE_RANGE)[:, None, None, None, None]


def normalised(points: Tensor, mask: Tensor) -> Tensor:
    """Divide each clip's points (B, S, H, W, 3) by `clip_scale`."""
    return points / clip_scale(points, mask)


def dense_paper(prediction: Tensor, target: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Published form: min(weight * min(error, 100), 100), mean over the masked pixels of the whole batch.

    The error is the Euclidean distance over the last dimension. Weights are raw, so the outer clamp takes the
    gradient from pixels whose weighted error exceeds 100.

    Args:
        prediction, target: (B, S, H, W, c) float.
        weight: (B, S, H, W) float, teacher confidence.
        mask: (B, S, H, W) float, 0 or 1.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_maps(prediction, target, weight, mask)
    error = torch.linalg.vector_norm(target - prediction, dim=-1).clamp(max=CLAMP)
    pixels = (weight * error).clamp(max=CLAMP)
    mean: Tensor = (pixels * mask).sum() / mask.sum().clamp(min=1)
    return mean


def dense_standard(
    prediction: Tensor, target: Tensor, weight: Tensor | None, mask: Tensor, *, robust: str, delta: float
) -> Tensor:
    """Corrected form: weights of mean 1 in each clip, an unbounded robust error, mean over clips.

    Args:
        prediction, target: (B, S, H, W, c) float.
        weight: (B, S, H, W) float, teacher confidence >= 0; none for equal weights.
        mask: (B, S, H, W) float, 0 or 1; clips without any pixel don't count.
        robust: `huber`, quadratic up to `delta` and then linear with slope 1, or `log1p`, log(1 + error / delta).
        delta: error scale.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    require_maps(prediction, target, weight, mask)
    weight = mask if weight is None else weight * mask
    square = ((target - prediction) ** 2).sum(dim=-1)
    error = square.clamp(min=1e-12).sqrt()
    if robust == "huber":
        pixels = F.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta) / delta
    else:
        pixels = torch.log1p(error / delta)
    total = weight.sum(dim=(1, 2, 3))
    means = (pixels * weight).sum(dim=(1, 2, 3)) / total.where(total > 0, 1.0)
    return means.sum() / (total > 0).sum().clamp(min=1)
