"""Whole probes: outputs, compilation, precision and whether they can learn one batch by heart."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from configs.errors import ConfigError
from configs.loader import known_names
from probe.module import Facts
from probe.net.config import FORMS, READOUTS
from probe.net.dpt import output_size
from probe.tasks.geometry.loss import geometry_loss
from probe.tasks.geometry.module import Module
from probe.tasks.instance.loss import instance_loss
from probe.tasks.tagging.loss import tagging_loss
from probe.train.optim import build_optimizer
from tests.probe.networks import TASKS, network, options_of

CHANNELS, GRID, IMAGE, CLASSES = 24, (4, 6), (32, 48), 5


def make(task: str, profile: str = "debug", **overrides: str) -> nn.Module:
    values = {key.replace("__", "."): text for key, text in overrides.items()}
    settings = options_of(task, profile, values)
    return network(task, CHANNELS, GRID, settings, classes=CLASSES, image_size=IMAGE)


def batch(task: str, clips: int = 2, queries: int = 3) -> tuple[Tensor, dict[str, Tensor]]:
    features = torch.randn(clips, queries, *GRID, CHANNELS)
    if task == "tagging":
        return features, {"labels": torch.randint(2, (clips, CLASSES))}
    if task == "instance":
        pixels = torch.stack([torch.randint(high, (clips, 40)) for high in (queries, *IMAGE)], dim=-1)
        return features, {"pixels": pixels, "ids": 1 + (pixels[..., 2] * 3) // IMAGE[1]}
    height, width = output_size(IMAGE, 0.25)
    depth = 1 + torch.rand(clips, queries, height, width)
    pose = torch.cat(
        [torch.randn(clips, queries, 3) / 3, torch.randn(clips, queries, 4), torch.ones(clips, queries, 2)], -1
    )
    pose[..., 3:7] = nn.functional.normalize(pose[..., 3:7], dim=-1)
    pose[:, 0, :7] = torch.tensor([0.0, 0, 0, 0, 0, 0, 1])
    points = torch.randn(clips, queries, height, width, 3)
    return features, {"depth": depth, "points": points, "pose": pose, "confidence": 1 + depth}


def loss_of(task: str, outputs: dict[str, Tensor], targets: dict[str, Tensor], profile: str = "debug") -> Tensor:
    config = options_of(task, profile).loss
    if task == "tagging":
        return tagging_loss(outputs, targets, config)["loss"]
    if task == "instance":
        return instance_loss(outputs, targets, IMAGE, config)["loss"]
    return geometry_loss(outputs, targets, config)["loss"]


@pytest.mark.parametrize("form", FORMS)
def test_geometry_learns_nothing_where_a_sensor_saw_nothing(form: str) -> None:
    settings = options_of("geometry", "debug", {"loss.form": form})
    module = Module(settings, Facts(CHANNELS, GRID, IMAGE), 4)
    features, drawn = batch("geometry")
    outputs = {name: value.detach().requires_grad_() for name, value in module(features).items()}
    unknown = torch.zeros(drawn["depth"].shape, dtype=torch.bool)
    unknown[:, :, :3] = True
    targets = {
        "depth": drawn["depth"].masked_fill(unknown, 0),
        "points": drawn["points"].masked_fill(unknown[..., None], 0),
        "confidence": drawn["confidence"].masked_fill(unknown, 0),
        "world2cam": torch.eye(4).expand(2, 3, 4, 4),
        "intrinsics": torch.eye(3).expand(2, 3, 3, 3),
    }
    torch.autograd.backward(module.loss(outputs, targets)["loss"])
    for name in ("depth", "points"):
        assert (outputs[name].grad[unknown] == 0).all() and (outputs[name].grad[~unknown] != 0).any()


@pytest.mark.parametrize("readout", READOUTS)
def test_outputs(readout: str) -> None:
    features = torch.randn(2, 3, *GRID, CHANNELS)
    logits = make("tagging", readout=readout)(features)["logits"]
    embeddings = make("instance", readout=readout)(features)["embeddings"]
    geometry = make("geometry", readout=readout)(features, IMAGE)
    assert tuple(logits.shape) == (2, CLASSES)
    assert tuple(embeddings.shape) == (2, 3, 8, *GRID)
    torch.testing.assert_close(embeddings.norm(dim=2), torch.ones(2, 3, *GRID))
    assert tuple(geometry["depth"].shape) == (2, 3, 8, 12)
    assert tuple(geometry["points"].shape) == (2, 3, 8, 12, 3)
    assert tuple(geometry["pose"].shape) == (2, 3, 9)
    assert torch.equal(geometry["pose_steps"][-1], geometry["pose"])
    assert (geometry["depth"] > 0).all()


@pytest.mark.parametrize("task", TASKS)
def test_compiles_into_one_graph(task: str) -> None:
    features, targets = batch(task)
    probe = make(task, trunk__checkpointing="on")
    with torch.no_grad():
        expected = probe(features, IMAGE)
    compiled = torch.compile(probe, fullgraph=True, backend="eager")
    found = compiled(features, IMAGE)
    torch.testing.assert_close(found, expected)
    torch.autograd.backward(loss_of(task, found, targets))
    gradients = [parameter.grad for parameter in probe.parameters() if parameter.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.full)])
def test_paper_geometry_under_autocast(compiled: bool) -> None:
    small = {
        "trunk__width": "32", "trunk__heads": "2", "trunk__depth": "1", "dpt__features": "8", "camera__heads": "2",
        "camera__depth": "1", "dpt__stage_channels": "8,8,8,8",
    }  # fmt: skip
    probe = make("geometry", "paper", **small)
    features = torch.randn(1, 2, *GRID, CHANNELS).half()
    run = torch.compile(probe, fullgraph=True, backend="eager") if compiled else probe
    with torch.autocast("cpu", torch.bfloat16):
        found = run(features, IMAGE)
    assert all(value.dtype is torch.float32 and value.isfinite().all() for value in found.values())
    assert tuple(found["depth"].shape) == (1, 2, *IMAGE)


@pytest.mark.full
@pytest.mark.parametrize("task", TASKS)
def test_compiles_with_autograd_traced(task: str) -> None:
    features, targets = batch(task)
    probe = make(task)
    found = torch.compile(probe, fullgraph=True, backend="aot_eager")(features, IMAGE)
    torch.testing.assert_close(found, probe(features, IMAGE))
    torch.autograd.backward(loss_of(task, found, targets))


@pytest.mark.parametrize("task", TASKS)
def test_learns_one_batch_by_heart(task: str) -> None:
    probe = make(task)
    features, targets = batch(task)
    recipe = dataclasses.replace(options_of(task).recipe, lr=3e-3, weight_decay=0.0)
    optimizer = build_optimizer(probe, recipe)
    losses = []
    for _ in range(20):
        loss = loss_of(task, probe(features, IMAGE), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("task", TASKS)
def test_every_parameter_gets_a_gradient(task: str, readout: str) -> None:
    probe = make(task, readout=readout)
    features, targets = batch(task)
    torch.autograd.backward(loss_of(task, probe(features, IMAGE), targets))
    idle = [name for name, p in probe.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert idle == []


@pytest.mark.parametrize("task", TASKS)
def test_bfloat16_features_and_autocast(task: str) -> None:
    probe = make(task)
    features, targets = batch(task)
    expected = probe(features.bfloat16().float(), IMAGE)
    torch.testing.assert_close(probe(features.bfloat16(), IMAGE), expected)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = probe(features.bfloat16(), IMAGE)
    assert all(value.dtype is torch.float32 for value in mixed.values())
    torch.autograd.backward(loss_of(task, mixed, targets))


@pytest.mark.parametrize("task", TASKS)
def test_depth_0_runs_in_every_profile(task: str) -> None:
    for profile in ("compact", "cpu", "smoke", "debug"):
        probe = make(task, profile, trunk__depth="0").eval()
        first, second = (probe(torch.randn(1, 2, *GRID, CHANNELS), IMAGE) for _ in range(2))
        for name, value in first.items():
            assert not torch.equal(value, second[name]), name


@pytest.mark.parametrize("profile", known_names("profile"))
def test_profiles_name_their_selection_and_sizes(profile: str) -> None:
    for task in TASKS:
        recipe = options_of(task, profile).recipe
        assert recipe.select_mode == ("max" if task == "tagging" else "min")
        assert 0 < recipe.final_lr < recipe.lr
        assert recipe.warmup < recipe.length


def test_published_recipe() -> None:
    paper = {task: options_of(task, "paper") for task in TASKS}
    found = {
        task: (r.lr, r.weight_decay, r.warmup, r.length, r.unit, r.batch, r.queries, r.betas, r.grad_clip, r.decay)
        for task, r in ((task, paper[task].recipe) for task in TASKS)
    }
    assert found == {
        "geometry": (1e-4, 0.05, 10, 60, "epochs", 10, 4, [0.9, 0.95], None, "paper"),
        "instance": (1e-3, 0.01, 2, 40, "epochs", 8, 8, [0.9, 0.95], None, "paper"),
        "tagging": (3e-4, 0.05, 2, 10, "epochs", 8, 8, [0.9, 0.95], None, "paper"),
    }
    assert [paper[task].trunk.dropout for task in TASKS] == [0.3, 0.1, 0.1]
    assert [paper[task].loss.form for task in TASKS] == ["paper"] * 3


@pytest.mark.parametrize(
    ("task", "overrides", "message"),
    [
        ("tagging", {"trunk__heads": "3"}, "trunk.width"),
        ("tagging", {"head__heads": "5"}, "head.width"),
        ("geometry", {"camera__heads": "5"}, "multiple of 5"),
    ],
)
def test_sizes_that_do_not_fit(task: str, overrides: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(task, **overrides)


def test_no_backbone_library_is_imported() -> None:
    code = (
        "import sys, probe.train.optim; "
        "import probe.tasks.geometry.module, probe.tasks.instance.module, probe.tasks.tagging.module; "
        "sys.exit(any(name in sys.modules for name in ('diffusers', 'transformers', 'lightning')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
