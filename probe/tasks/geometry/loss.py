"""Loss of a geometry probe: points, depth, cameras and, if asked for, spatial differences."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from probe.net.config import GeometryLossConfig
from probe.net.loss_terms import require_tensor, weighted_sum
from probe.tasks.geometry.camera_loss import camera_paper, camera_standard
from probe.tasks.geometry.dense_loss import dense_paper, dense_standard, normalised
from probe.tasks.geometry.gradient_loss import gradient_term


def geometry_loss(
    outputs: dict[str, Tensor], targets: dict[str, Tensor], config: GeometryLossConfig
) -> dict[str, Tensor]:
    """Add up the terms of non-zero weight.

    Lengths are in units of the mean distance of view 0's points, poses relative to view 0.

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
    fix = "resize the targets to probe.heads.dpt.output_size(image_size, dpt.output_scale)"
    require_tensor(outputs["depth"], (None, None, None, None), "float", "predicted depth")
    shape = outputs["depth"].shape
    require_tensor(outputs["points"], (*shape, 3), "float", "predicted points")
    require_tensor(outputs["pose_steps"], (None, *shape[:2], 9), "float", "predicted poses")
    require_tensor(targets["depth"], shape, "float", "true depth", fix=fix)
    require_tensor(targets["points"], (*shape, 3), "float", "true points", fix=fix)
    require_tensor(targets["pose"], (*shape[:2], 9), "float", "true poses", fix="pass one encoded pose per view")
    confidence, mask, pose_valid = (targets.get(name) for name in ("confidence", "mask", "pose_valid"))
    if confidence is not None:
        require_tensor(confidence, shape, "float", "confidence", fix=fix)
    if mask is not None:
        require_tensor(mask, shape, "bool", "mask", fix=fix)
    if pose_valid is not None:
        require_tensor(pose_valid, shape[:2], "bool", "valid poses", fix="pass one flag per view")
