from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import nn

from configs.errors import ConfigError
from probe.train.optim import build_optimizer, build_schedule, learning_rate, parameter_groups, warmup_steps
from probe.train.recipe import RecipeConfig
from tests.probe.networks import TASKS, network, options_of


def recursive(total: int, warmup: int, base: float, final: float) -> list[float]:
    """The recurrence of the scheduler that the published recipe used."""
    rates = [0.0]
    for step in range(1, total):
        last = rates[-1]
        if step < warmup:
            rates.append(last + base / (warmup - 1))
        elif step == warmup:
            rates.append(base)
        else:
            above = 1 + math.cos(math.pi * (step - warmup) / (total - warmup))
            below = 1 + math.cos(math.pi * (step - 1 - warmup) / (total - warmup))
            rates.append(above / below * (last - final) + final)
    return rates


@pytest.mark.parametrize(("total", "warmup"), [(50, 10), (600, 100), (20, 2)])
def test_equals_the_published_recurrence(total: int, warmup: int) -> None:
    expected = recursive(total, warmup, 1e-3, 1e-6)
    found = [learning_rate(e, total=total, warmup=warmup, base=1e-3, final=1e-6) for e in range(total)]
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("warmup", "first"), [(0, 1e-3), (1, 0.0), (2, 0.0)])
def test_short_warmups(warmup: int, first: float) -> None:
    rates = [learning_rate(e, total=10, warmup=warmup, base=1e-3, final=1e-6) for e in range(10)]
    assert rates[0] == first
    assert rates[max(warmup, 1) if warmup != 2 else 1] == pytest.approx(1e-3, rel=0.05)
    assert all(math.isfinite(rate) for rate in rates)


def test_ends() -> None:
    assert learning_rate(10, total=10, warmup=2, base=1e-3, final=1e-6) == 1e-6
    assert learning_rate(99, total=10, warmup=2, base=1e-3, final=1e-6) == 1e-6
    assert learning_rate(4, total=10, warmup=10, base=1e-3, final=1e-6) == pytest.approx(4e-3 / 9)
    assert warmup_steps(10, 60, 32400) == 5400
    assert warmup_steps(2, 40, 6010) == 300
    assert warmup_steps(0.5, 2, 5) == 1
    assert warmup_steps(9, 3, 5) == 5


def test_schedule_drives_the_optimizer() -> None:
    recipe = dataclasses.replace(options_of("instance", "paper").recipe, length=10, warmup=2)
    optimizer = build_optimizer(nn.Linear(3, 3), recipe)
    schedule = build_schedule(optimizer, recipe, 50)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(recursive(50, 10, recipe.lr, recipe.final_lr), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("task", TASKS)
def test_decay_groups(task: str) -> None:
    probe = network(task, 12, (2, 3), options_of(task))
    groups = parameter_groups(probe, 0.05, "standard")
    assert [group["weight_decay"] for group in groups] == [0.05, 0.0]
    names = {id(parameter): name for name, parameter in probe.named_parameters()}
    decayed, spared = ({names[id(p)] for p in group["params"]} for group in groups)
    assert decayed | spared == set(names.values())
    assert {"trunk.input_proj.weight", "trunk.frame_blocks.0.attn.qkv.weight"} <= decayed
    assert {"trunk.camera_token", "trunk.register_token", "trunk.input_norm.weight"} <= spared
    assert not any(name.endswith(("bias", "gamma", "norm1.weight", "_token")) for name in decayed)
    name, decays = {
        "tagging": ("head.queries", False),
        "instance": ("head.proj1.weight", True),
        "geometry": ("camera_head.empty_pose", False),
    }[task]
    assert (name in decayed) is decays
    if task == "tagging":
        assert "head.layers.0.self_attn.in_proj_weight" in decayed


def test_paper_has_one_group() -> None:
    module = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    module[0].bias.requires_grad_(False)
    groups = parameter_groups(module, 0.05, "paper")
    assert [len(group["params"]) for group in groups] == [3]
    assert groups[0]["weight_decay"] == 0.05


def test_wrong_recipes() -> None:
    recipe: RecipeConfig = options_of("tagging").recipe
    module = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="two momenta"):
        build_optimizer(module, dataclasses.replace(recipe, betas=[0.9]))
    with pytest.raises(ConfigError, match="final"):
        build_schedule(build_optimizer(module, recipe), dataclasses.replace(recipe, lr=1e-9), 10)


def test_frozen_parameters_are_left_out() -> None:
    module = nn.Linear(2, 2)
    module.weight.requires_grad_(False)
    assert torch.equal(parameter_groups(module, 0.1, "standard")[0]["params"][0], module.bias)
