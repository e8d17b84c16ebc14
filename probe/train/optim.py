"""AdamW with decay groups, and the published warm-up and cosine schedule in closed form."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from configs.errors import ConfigError
from probe.train.recipe import RecipeConfig

MATRICES = ("weight", "in_proj_weight")


def parameter_groups(module: nn.Module, weight_decay: float, decay: str) -> list[dict[str, Any]]:
    """Group the trainable parameters for AdamW, in the order of `named_parameters`.

    Args:
        module: the probe.
        weight_decay: decay of the groups that have any.
        decay: `paper` decays everything in one group; `standard` only the matrices and kernels of Linear, convolution
            and attention layers, not biases, norms, LayerScale, special tokens and learned queries.

    Returns:
        Groups with `params` and `weight_decay`; empty ones are left out.
    """
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    if decay == "paper":
        return [{"params": [parameter for _, parameter in named], "weight_decay": weight_decay}]
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for name, parameter in named:
        is_matrix = parameter.ndim >= 2 and name.rpartition(".")[2] in MATRICES
        (matrices if is_matrix else others).append(parameter)
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def build_optimizer(module: nn.Module, recipe: RecipeConfig) -> torch.optim.AdamW:
    """Return AdamW for a probe, in the library's fused form, which visits each parameter once.

    Raises:
        ConfigError: not two momenta below 1.
    """
    if len(recipe.betas) != 2 or max(recipe.betas) >= 1:
        raise ConfigError("AdamW takes two momenta below 1", found=recipe.betas, fix="set recipe.betas=0.9,0.95")
    return torch.optim.AdamW(
        parameter_groups(module, recipe.weight_decay, recipe.decay),
        lr=recipe.lr,
        betas=(recipe.betas[0], recipe.betas[1]),
        eps=recipe.eps,
        fused=True,
    )


def warmup_steps(warmup: float, length: int, total_steps: int) -> int:
    """Return the steps of warm-up: int(warmup * total_steps / length), where `length` and `warmup` share a unit."""
    return min(int(warmup * total_steps / length), total_steps)


def learning_rate(step: int, *, total: int, warmup: int, base: float, final: float) -> float:
    """Return the learning rate of one update.

    Step e of 0 .. total-1: base * e / (warmup - 1) during warm-up, so the first update has rate 0 (as published); then
    final + (base - final) * (1 + cos(pi (e - warmup) / (total - warmup))) / 2. A warm-up of one step is that step at
    rate 0; without warm-up the cosine starts at once. Beyond the end the rate stays at `final`.
    """
    if step < warmup:
        return base * step / max(warmup - 1, 1)
    if step >= total:
        return final
    return final + (base - final) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def build_schedule(
    optimizer: torch.optim.Optimizer, recipe: RecipeConfig, total_steps: int
) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule of `learning_rate`, to be stepped after every update.

    Raises:
        ConfigError: the peak rate is 0, or below the final one.
    """
    if recipe.lr <= 0 or recipe.lr < recipe.final_lr:
        raise ConfigError(
            "the peak learning rate must be positive and not below the final one",
            expected=f"above {recipe.final_lr:g}",
            found=recipe.lr,
            fix="set recipe.lr or recipe.final_lr",
        )
    warmup = warmup_steps(recipe.warmup, recipe.length, total_steps)

    def factor(step: int) -> float:
        rate = learning_rate(step, total=total_steps, warmup=warmup, base=recipe.lr, final=recipe.final_lr)
        return rate / recipe.lr

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
