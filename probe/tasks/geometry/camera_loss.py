"""Loss of the refined cameras: Huber on translation, rotation and fields of view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from probe.net.loss_terms import require_tensor
from probe.tasks.geometry.rotation import camera_centres

DECAY = 0.6
PARTS = {"translation": (slice(0, 3), 1.0), "rotation": (slice(3, 7), 1.0), "fov": (slice(7, 9), 0.5)}
CLAMP = 100.0


def _require(steps: Tensor, target: Tensor) -> None:
    require_tensor(steps, (None, None, None, 9), "float", "predicted poses", fix="pass encoded poses of all iterations")
    require_tensor(target, steps.shape[1:], "float", "true poses", fix="pass one encoded pose per view")


def camera_paper(steps: Tensor, target: Tensor) -> Tensor:
    """Published form: element means, clamped at 100, weights 0.6^(last - i) whose sum is divided by the iterations.

    View 0 counts like the others; quaternions are neither normalised nor matched in sign.

    Args:
        steps: (L, B, S, 9) float, poses of all iterations.
        target: (B, S, 9) float.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require(steps, target)
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
    """Corrected form: no clamp, normalised weights, unit quaternions of matching sign, the trivial view 0 left out.

    Places of the cameras are compared, not translations, which a wrong rotation turns too.

    View 0 has a field of view to learn but no motion. A clip of one view thus has fields of view only.

    Args:
        steps: (L, B, S, 9) float, poses of all iterations.
        target: (B, S, 9) float.
        valid: (B, S) bool, which poses are known; default all.
        delta: error at which Huber turns linear, with slope 1.
        floor: errors of a camera's place are divided by its distance from view 0 plus this, so that the direction of
            a short motion counts like that of a long one; default not divided.

    Raises:
        ConfigError: shapes differ, or a dtype is wrong.
    """
    _require(steps, target)
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
        per_view = error[..., part].mean(dim=-1) * mask
        total = total + factor * (weights * per_view.sum(dim=(1, 2))).sum() / mask.sum().clamp(min=1)
    return total
