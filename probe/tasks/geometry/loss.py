"""Losses of a geometry probe: points and depths weighted by confidence, their spatial differences, and cameras."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from probe.net.loss_terms import require_tensor, weighted_sum
from probe.tasks.geometry.config import GeometryLossConfig
from probe.tasks.geometry.pose import camera_centres

CLAMP = 100.0
"""Errors count no more than this, as published."""
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


SCALES = 4


def gradient_term(prediction: Tensor, target: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Sum over the first and the other queries of the mean over four scales (strides 1, 2, 4, 8).

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
    for queries in (slice(0, 1), slice(1, None)):
        if error[:, queries].shape[1] == 0:
            continue
        for scale in range(SCALES):
            step = 2**scale
            pick = (slice(None), queries, slice(None, None, step), slice(None, None, step))
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


DECAY = 0.6
PARTS = {"translation": (slice(0, 3), 1.0), "rotation": (slice(3, 7), 1.0), "fov": (slice(7, 9), 0.5)}


def _require_poses(steps: Tensor, target: Tensor) -> None:
    require_tensor(steps, (None, None, None, 9), "float", "predicted poses", fix="pass encoded poses of all iterations")
    require_tensor(target, steps.shape[1:], "float", "true poses", fix="pass one encoded pose per query")


def camera_paper(steps: Tensor, target: Tensor) -> Tensor:
    """Published form: element means, clamped at 100, weights 0.6^(last - i) whose sum is divided by the iterations.

    Query 0 counts like the others; quaternions are neither normalised nor matched in sign.

    Args:
        steps: (L, B, S, 9) float, poses of all iterations.
        target: (B, S, 9) float.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require_poses(steps, target)
    error = F.huber_loss(steps, target.expand_as(steps), reduction="none").clamp(max=CLAMP)
    weights = DECAY ** torch.arange(len(steps) - 1, -1, -1, device=steps.device, dtype=steps.dtype)
    total = steps.new_zeros(())
    for part, factor in PARTS.values():
        means = error[..., part].flatten(1).mean(dim=1)
        total = total + factor * (weights * means).sum() / len(steps)
    return total


def camera_standard(
    steps: Tensor, target: Tensor, valid: Tensor | None = None, *, delta: float, floor: float | None = None
) -> Tensor:
    """Corrected form: no clamp, normalised weights, unit quaternions of matching sign, the trivial query 0 left out.

    Places of the cameras are compared, not translations, which a wrong rotation turns too.

    Query 0 has a field of view to learn but no motion. A clip of one query thus has fields of view only.

    Args:
        steps: (L, B, S, 9) float, poses of all iterations.
        target: (B, S, 9) float.
        valid: (B, S) bool, which poses are known; default all.
        delta: error at which Huber turns linear, with slope 1.
        floor: errors of a camera's place are divided by its distance from query 0 plus this, so that the direction of
            a short motion counts like that of a long one; default not divided.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require_poses(steps, target)
    if valid is not None:
        require_tensor(valid, target.shape[:2], "bool", "valid poses", fix="pass one flag per pose")
    known = torch.ones_like(target[..., 0]) if valid is None else valid.to(target.dtype)
    moving = torch.cat([torch.zeros_like(known[:, :1]), known[:, 1:]], dim=1)
    # Unknown targets may hold anything, even NaN: replaced before any arithmetic.
    target = target.where(known[..., None] > 0, 0.0)
    rotation = F.normalize(steps[..., 3:7], dim=-1)
    # q and -q are one rotation: compare with the one that's closer.
    sign = torch.where((rotation * target[..., 3:7]).sum(-1, keepdim=True) < 0, -1.0, 1.0).detach()
    places, true_places = camera_centres(steps), camera_centres(target)
    if floor is not None:
        reach = true_places.norm(dim=-1, keepdim=True) + floor
        places, true_places = places / reach, true_places / reach
    poses = torch.cat([places, sign * rotation, steps[..., 7:]], dim=-1)
    true = torch.cat([true_places, target[..., 3:]], dim=-1)
    error = F.huber_loss(poses, true.expand_as(poses), reduction="none", delta=delta) / delta
    weights = DECAY ** torch.arange(len(steps) - 1, -1, -1, device=steps.device, dtype=steps.dtype)
    weights = weights / weights.sum()
    total = steps.new_zeros(())
    for name, (part, factor) in PARTS.items():
        mask = known if name == "fov" else moving
        per_query = error[..., part].mean(dim=-1) * mask
        total = total + factor * (weights * per_query.sum(dim=(1, 2))).sum() / mask.sum().clamp(min=1)
    return total


def geometry_loss(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], config: GeometryLossConfig
) -> dict[str, Tensor]:
    """Add up the terms of non-zero weight.

    Lengths are in units of the mean distance of query 0's points, poses relative to query 0.

    `paper`: teacher confidences as raw weights, absolute depths, every pixel of the mask. `standard`: weights of mean 1
    per clip, a robust error without clamps, logarithmic depths; pixels of unknown depth (0) never count.

    Args:
        outputs: `depth` (B, S, H, W), `points` (B, S, H, W, 3), `pose_steps` (L, B, S, 9), all float.
        targets: `depth` and `points` of the same shapes, `pose` (B, S, 9), all float; optional `confidence`
            (B, S, H, W) float, default 1, `mask` (B, S, H, W) bool, default all, and, standard form only,
            `pose_valid` (B, S) bool, default all.
        config: form and weights.

    Returns:
        `points`, `depth`, `camera`, `points_gradient`, `depth_gradient` as far as their weight isn't 0, and `loss`.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require(outputs, targets)
    depth, points = outputs["depth"][..., None].float(), outputs["points"].float()
    true_depth, true_points = targets["depth"][..., None].float(), targets["points"].float()
    given = targets.get("mask")
    mask = torch.ones_like(targets["depth"]) if given is None else given
    mask = mask.to(depth.dtype)
    weight = targets.get("confidence")
    steps, pose, pose_valid = outputs["pose_steps"].float(), targets["pose"].float(), targets.get("pose_valid")

    if config.form == "paper":
        raw = torch.ones_like(mask) if weight is None else weight.to(depth.dtype)
        return weighted_sum(
            {
                "points": (
                    config.points,
                    lambda: dense_paper(normalised(points, mask), normalised(true_points, mask), raw, mask),
                ),
                "depth": (config.depth, lambda: dense_paper(depth, true_depth, raw, mask)),
                "camera": (config.camera, lambda: camera_paper(steps, pose)),
                "points_gradient": (
                    config.points_gradient,
                    lambda: gradient_term(normalised(points, mask), normalised(true_points, mask), raw, mask),
                ),
                "depth_gradient": (config.depth_gradient, lambda: gradient_term(depth, true_depth, raw, mask)),
            }
        )

    # Unknown pixels may hold anything: replaced before any arithmetic, so that neither values nor gradients leak.
    known = (mask > 0) & (true_depth[..., 0] > 0)
    mask = known.to(depth.dtype)
    log_depth = depth.where(known[..., None], 1.0).log()
    true_log = true_depth.where(known[..., None], 1.0).log()
    ones, dense = torch.ones_like(mask), partial(dense_standard, robust=config.robust, delta=config.delta)
    weight = None if weight is None else weight.to(depth.dtype).where(known, 0.0)
    seen, true_seen = points.where(known[..., None], 0.0), true_points.where(known[..., None], 0.0)
    return weighted_sum(
        {
            "points": (
                config.points,
                lambda: dense(normalised(seen, mask), normalised(true_seen, mask), weight, mask),
            ),
            "depth": (config.depth, lambda: dense(log_depth, true_log, weight, mask)),
            "camera": (
                config.camera,
                partial(camera_standard, steps, pose, pose_valid, delta=config.camera_delta, floor=config.camera_floor),
            ),
            "points_gradient": (
                config.points_gradient,
                lambda: gradient_term(normalised(seen, mask), normalised(true_seen, mask), ones, mask),
            ),
            "depth_gradient": (config.depth_gradient, lambda: gradient_term(log_depth, true_log, ones, mask)),
        }
    )


def _require(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> None:
    fix = "resize the targets to probe.net.dpt.output_size(image_size, dpt.output_scale)"
    require_tensor(outputs["depth"], (None, None, None, None), "float", "predicted depth")
    shape = outputs["depth"].shape
    require_tensor(outputs["points"], (*shape, 3), "float", "predicted points")
    require_tensor(outputs["pose_steps"], (None, *shape[:2], 9), "float", "predicted poses")
    require_tensor(targets["depth"], shape, "float", "true depth", fix=fix)
    require_tensor(targets["points"], (*shape, 3), "float", "true points", fix=fix)
    require_tensor(targets["pose"], (*shape[:2], 9), "float", "true poses", fix="pass one encoded pose per query")
    confidence, mask, pose_valid = (targets.get(name) for name in ("confidence", "mask", "pose_valid"))
    if confidence is not None:
        require_tensor(confidence, shape, "float", "confidence", fix=fix)
    if mask is not None:
        require_tensor(mask, shape, "bool", "mask", fix=fix)
    if pose_valid is not None:
        require_tensor(pose_valid, shape[:2], "bool", "valid poses", fix="pass one flag per query")
