"""Predictions and scores of members on frozen queries, outside autocast and in float64 where numbers are judged."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from configs.errors import NonFiniteError
from fusion.views.view import Unfused
from probe.metrics.score import ClipScore
from probe.metrics.scores import Scores
from probe.module import Batch, Evaluator, pick, usable
from probe.train.member import Member

Losses = list[dict[str, float] | None]
"""Losses of each sample in the order of evaluation, None where there was nothing to learn from."""


def evaluate_members(
    members: Sequence[Member], batches: Iterable[Batch], device: torch.device, *, full: bool, precision: str
) -> list[Scores]:
    """Return the scores of each member; `loss` and its terms per clip are among the values.

    Args:
        members: their networks may be on any device and are moved.
        batches: from `ProbeData.evaluation`.
        device: where to compute.
        full: whether to compute the slow metrics too.
        precision: of the forward pass, as in the recipe.

    Raises:
        NonFiniteError: what a probe says of a clip, or a score of it, is not finite; the message names the clip.
    """
    evaluators: list[Evaluator] = []
    for member in members:
        member.module.to(device).eval()
        evaluators.append(member.module.evaluator(member.plan.config.how.variant, full=full))
    losses: list[Losses] = [[] for _ in members]
    # inference_mode would mark tables that modules keep for later training
    with torch.no_grad():
        for batch in batches:
            moved = to_device(batch, device)
            for member, evaluator, found in zip(members, evaluators, losses, strict=True):
                _evaluate(member, evaluator, found, moved, precision)
    for member in members:
        member.module.train()
    scores = [_with_losses(evaluator.finish(), found) for evaluator, found in zip(evaluators, losses, strict=True)]
    for of_member in scores:
        _refuse_infinite(of_member)
    return scores


def _evaluate(member: Member, evaluator: Evaluator, losses: Losses, batch: Batch, precision: str) -> None:
    features, targets = member.inputs(batch)
    with autocast(features.device, precision):
        outputs = member.module(features, targets["queries"])
    learnable = set(usable(targets))
    for i, clip_id in enumerate(targets["clip_id"]):
        terms = member.module.loss(member.module.one_of(outputs, i), pick(targets, [i])) if i in learnable else None
        losses.append(None if terms is None else {name: float(value) for name, value in terms.items()})
        queries = [int(query) for query in targets["queries"][i]]
        alone = _arrays({name: value[0] for name, value in member.module.one_of(outputs, i).items()})
        bad = [name for name, value in alone.items() if not np.isfinite(value).all()]
        if bad:
            raise NonFiniteError(
                f"the probe's outputs are not finite: {', '.join(bad)}",
                where=f"run {member.run_id} ({member.plan.label}), clip {clip_id}",
                fix="lower recipe.lr, or set recipe.grad_clip=1 or recipe.precision=float32, and train it again",
            )
        evaluator.add(clip_id, queries, alone, _arrays({name: value[i] for name, value in targets.items()}))


def _arrays(sample: Batch) -> Batch:
    """Return the tensors of one sample as arrays: floats as float32."""
    return {
        name: (item.float() if item.is_floating_point() else item).cpu().numpy() if isinstance(item, Tensor) else item
        for name, item in sample.items()
    }


def _with_losses(scores: Scores, losses: Losses) -> Scores:
    """Add the losses to the scores of each clip."""
    for i, terms in enumerate(losses):
        if terms is None:
            scores.per_clip[i] = scores.per_clip[i] | ClipScore.without_value(("loss",), "nothing to learn from")
        else:
            named = {name if name == "loss" else f"loss_{name}": value for name, value in terms.items()}
            undefined = {name: "not finite" for name, value in named.items() if not np.isfinite(value)}
            values = {name: value if np.isfinite(value) else float("nan") for name, value in named.items()}
            scores.per_clip[i] = scores.per_clip[i] | ClipScore(values, undefined=undefined)
    return scores


def _refuse_infinite(scores: Scores) -> None:
    """Refuse infinite scores: a mean, an interval or a test with one of them says nothing. NaN is undefined."""
    found = [
        (f"clip {clip_id}", key, value)
        for clip_id, clip in zip(scores.clip_ids, scores.per_clip, strict=True)
        for key, value in clip.values.items()
        if key not in clip.undefined
    ]
    found += [("the whole split", key, value) for key, value in scores.pooled.items()]
    for where, key, value in found:
        if math.isinf(value):
            raise NonFiniteError("an infinite score", where=where, found=f"{key} {value}")


def to_device(value: Any, device: torch.device) -> Any:
    """Move the tensors, and features not fused yet, in dicts and lists."""
    if isinstance(value, (Tensor, Unfused)):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    return [to_device(item, device) for item in value] if isinstance(value, list) else value


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[object]:
    """Return the context in which networks run under a precision of the recipe."""
    if precision == "bf16-mixed":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
