from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from benchmarks.plain import PLAIN, make_plain
from tests.probe.gradients import gradient
from tests.probe.networks import network, options_of

GRID, IMAGE, CHANNELS = (3, 4), (42, 60), 24
WORDS = {
    "trunk.width": "32",
    "trunk.heads": "4",
    "trunk.depth": "2",
    "head.width": "32",
    "head.class_queries": "learned",
    "camera.depth": "1",
    "camera.heads": "4",
    "dpt.features": "16",
    "dpt.stage_channels": "8,16,24,24",
    "dpt.hidden": "8",
}


def make(task: str) -> nn.Module:
    lacking = {"instance": ("head.width", "head.class_queries", "camera", "dpt"), "tagging": ("camera", "dpt")}
    skip = lacking.get(task, ("head",))
    words = {key: value for key, value in WORDS.items() if not key.startswith(skip)}
    profile = options_of(task, "paper", words)
    torch.manual_seed(0)
    probe = network(task, CHANNELS, GRID, profile, classes=5, image_size=IMAGE)
    for parameter in probe.parameters():  # gains and offsets that matter
        nn.init.normal_(parameter, std=0.2) if parameter.ndim < 2 else None
    return probe


@pytest.mark.parametrize("task", ["tagging", "instance", "geometry"])
def test_the_straightforward_recipe_computes_the_same_numbers_and_gradients(task: str) -> None:
    probe = make(task).eval()
    plain = copy.deepcopy(probe)
    make_plain(plain)
    changed = {type(module) for module in plain.modules()} & set(PLAIN.values())
    assert len(changed) >= 4 and not {type(module) for module in plain.modules()} & set(PLAIN)
    features = torch.randn(2, 3, *GRID, CHANNELS).half()
    found, expected = probe(features, IMAGE), plain(features, IMAGE)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=2e-4, rtol=2e-4)
    for outputs in (found, expected):
        sum((outputs[name] * torch.linspace(-1, 1, outputs[name].numel()).view_as(outputs[name])).mean()
            for name in found).backward()  # fmt: skip
    gradients = dict(plain.named_parameters())
    for name, parameter in probe.named_parameters():
        if name.startswith("head.classifier"):  # one Linear per class there
            leaf = name.rpartition(".")[2]
            parts = [gradient(part.get_parameter(leaf)) for part in plain.get_submodule("head.parts").children()]
            torch.testing.assert_close(parameter.grad, torch.cat(parts), atol=1e-4, rtol=1e-3)
        else:
            torch.testing.assert_close(parameter.grad, gradients[name].grad, atol=1e-4, rtol=1e-3)
