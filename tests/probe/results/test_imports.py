"""Checkpoints with the published names, built from a probe's own weights: read into another probe, and as a run."""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from configs.errors import ConfigError, CorruptionError, MissingError, NonFiniteError
from configs.loader import resolve
from probe.config import import_layers
from probe.results.apply import evaluate
from probe.results.imports import import_checkpoint, load_published, read_published, translate
from probe.task import Task, load_task
from probe.tasks.instance.head import InstanceProbe
from probe.train.run_folder import load_checkpoint
from probe.train.train import train
from tests.probe.networks import TASKS, TINY, network, options_of

INSTANCE = load_task("instance")
GRID, CHANNELS, CLASSES = (2, 3), 6, 3
SMALL = {
    "tagging": {"trunk.width": "16", "trunk.heads": "2", "trunk.depth": "1", "head.width": "8", "head.heads": "2"},
    "instance": {"trunk.width": "16", "trunk.heads": "2", "trunk.depth": "1"},
    "geometry": {
        "trunk.width": "16", "trunk.heads": "2", "trunk.depth": "1", "dpt.features": "8",
        "dpt.stage_channels": "8,8,8,8", "camera.heads": "2", "camera.depth": "1",
    },
}  # fmt: skip


def make(task: str, seed: int, **changes: str) -> nn.Module:
    torch.manual_seed(seed)
    rows = torch.arange(CLASSES * 4.0).view(CLASSES, 4)
    probe = network(
        task, CHANNELS, GRID, options_of(task, "paper", {**SMALL[task], **changes}), classes=CLASSES,
        class_embeddings=rows, image_size=(8, 12),
    )  # fmt: skip
    for parameter in probe.parameters():
        nn.init.normal_(parameter, std=0.2)
    return probe.eval()


def published_names(probe: nn.Module) -> dict[str, Tensor]:
    """Write a probe's weights under the published names, written from the list of names and not from the importer."""
    state = {}
    for name, tensor in probe.state_dict().items():
        if name == "head.class_embeddings":
            continue
        if name.startswith("head.classifier"):
            kind = name.rpartition(".")[2]
            for row, values in enumerate(tensor):
                state[f"probe.semantic_tag_head.cls_heads.{row}.{kind}"] = values[None]
            continue
        if re.fullmatch(r"head\.proj\d\.weight", name):
            tensor = tensor[:, :, None, None]
        for ours, theirs in (
            ("trunk.input_norm", "backbone.input_proj.0"),
            ("trunk.input_proj", "backbone.input_proj.1"),
            ("trunk.", "backbone."),
            ("head.proj", "instance_head.proj"),
            ("head.query_proj", "semantic_tag_head.clip_proj"),
            ("head.", "semantic_tag_head."),
            ("camera_head.empty_pose", "camera_head.empty_pose_tokens"),
            ("camera_head.norm", "camera_head.trunk_norm"),
            ("camera_head.blocks", "camera_head.trunk"),
            ("camera_head.modulation", "camera_head.poseLN_modulation.1"),
            ("camera_head.branch", "camera_head.pose_branch"),
        ):
            if name.startswith(ours):
                name = theirs + name.removeprefix(ours)
                break
        for ours, theirs in ((".multihead_attn.", ".cross_attn."), (".linear1.", ".ffn.0."), (".linear2.", ".ffn.3.")):
            if name.startswith("semantic_tag_head.layers."):
                name = name.replace(ours, theirs)
        name = name.replace(".resizes.", ".resize_layers.")
        name = re.sub(r"\.laterals\.(\d)", lambda m: f".scratch.layer{int(m[1]) + 1}_rn", name)
        name = re.sub(r"\.fusions\.(\d)", lambda m: f".scratch.refinenet{int(m[1]) + 1}", name)
        name = name.replace(".lateral.", ".resConfUnit1.").replace(".refine.", ".resConfUnit2.")
        name = re.sub(r"_head\.output_conv1", "_head.scratch.output_conv1", name)
        name = re.sub(r"_head\.output_conv2", "_head.scratch.output_conv2.0", name)
        name = re.sub(r"_head\.output_conv3", "_head.scratch.output_conv2.2", name)
        state[f"probe.{name}"] = tensor
    return state


def save(state: dict[str, Tensor], path: Path, **extra: object) -> Path:
    torch.save({"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.5.0", **extra}, path)
    return path


@pytest.mark.parametrize("task", TASKS)
def test_round_trip(task: str, tmp_path: Path) -> None:
    source, target = make(task, 1), make(task, 2)
    features = torch.randn(1, 2, *GRID, CHANNELS)
    path = save(published_names(source), tmp_path / "best.ckpt")
    assert any(not torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    load_published(target, load_task(task), path)
    with torch.no_grad():
        expected, found = source(features, (8, 12)), target(features, (8, 12))
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_names_of_the_geometry_checkpoint() -> None:
    names = set(published_names(make("geometry", 1)))
    assert {
        "probe.backbone.frame_blocks.0.attn.q_norm.weight",
        "probe.backbone.global_blocks.0.ls2.gamma",
        "probe.depth_head.scratch.refinenet1.resConfUnit1.conv2.bias",
        "probe.depth_head.scratch.layer4_rn.weight",
        "probe.point_head.resize_layers.3.weight",
        "probe.point_head.scratch.output_conv2.2.weight",
        "probe.camera_head.poseLN_modulation.1.weight",
        "probe.camera_head.trunk.0.mlp.fc1.weight",
    } <= names
    assert not any("refinenet4.resConfUnit1" in name or "resize_layers.2" in name for name in names)


def test_names_of_the_tagging_checkpoint() -> None:
    """The released heads are not built of the library's decoder layers, whose names are ours."""
    names = set(published_names(make("tagging", 1)))
    layer = "probe.semantic_tag_head.layers.0."
    assert {
        f"{layer}cross_attn.in_proj_weight",
        f"{layer}cross_attn.out_proj.bias",
        f"{layer}ffn.0.weight",
        f"{layer}ffn.3.bias",
        f"{layer}self_attn.in_proj_bias",
        f"{layer}norm3.weight",
    } <= names
    assert not any("multihead_attn" in name or "linear" in name for name in names)


@pytest.mark.parametrize("name", ["multihead_attn.in_proj_weight", "linear1.weight", "ffn.1.weight", "norm4.bias"])
def test_names_of_the_library_are_not_published_names(name: str) -> None:
    with pytest.raises(ConfigError, match="tensors with unexpected names"):
        translate({f"semantic_tag_head.layers.0.{name}": torch.ones(2)}, load_task("tagging"))


@pytest.mark.parametrize(("task", "other"), [("tagging", "instance"), ("geometry", "tagging")])
def test_a_task_knows_no_names_of_another_ones_head(task: str, other: str) -> None:
    state = {name.removeprefix("probe."): tensor for name, tensor in published_names(make(other, 1)).items()}
    with pytest.raises(ConfigError, match=f"published probe of task={task}"):
        translate(state, load_task(task))


def test_a_task_that_declares_no_names_has_no_published_checkpoints(tmp_path: Path) -> None:
    task = dataclasses.replace(INSTANCE, published_names={})
    assert isinstance(task, Task)
    path = save(published_names(make("instance", 1)), tmp_path / "best.ckpt")
    with pytest.raises(ConfigError, match="no checkpoints of task 'instance' are published"):
        load_published(make("instance", 2), task, path)


def test_foreign_objects_in_the_file_stay_inert(tmp_path: Path) -> None:
    hyper = {
        "optimizer": functools.partial(torch.optim.AdamW, lr=1e-4),
        "stages": OmegaConf.create([0, 1, {"a": 2}]),
        "counts": defaultdict(list, a=[1]),
        "folder": tmp_path,
    }
    source = make("instance", 1)
    path = save(published_names(source), tmp_path / "best.ckpt", hyper_parameters=hyper)
    with pytest.raises(Exception, match="weights_only"):
        torch.load(path, weights_only=True)
    target = make("instance", 2)
    load_published(target, INSTANCE, path)
    name = "head.proj1.weight"
    assert torch.equal(target.get_parameter(name), source.get_parameter(name))


class Attack:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.witness),)


def test_no_code_of_the_file_runs(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    path = save(published_names(make("instance", 1)), tmp_path / "bad.ckpt", hyper_parameters=Attack(witness))
    with pytest.raises(CorruptionError, match="blocked"):
        read_published(path)
    assert not witness.exists()


def test_names_of_a_compiled_module(tmp_path: Path) -> None:
    source, target = make("instance", 1), make("instance", 2)
    state = {f"probe._orig_mod.{name.removeprefix('probe.')}": t for name, t in published_names(source).items()}
    load_published(target, INSTANCE, save(state, tmp_path / "best.ckpt"))
    name = "head.proj1.weight"
    assert torch.equal(target.get_parameter(name), source.get_parameter(name))


def test_missing_unexpected_and_mismatched_tensors_are_named(tmp_path: Path) -> None:
    target = make("geometry", 2)
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    state = published_names(make("geometry", 1))
    del state["probe.camera_head.embed_pose.bias"]
    state["probe.backbone.frame_blocks.7.ls1.gamma"] = torch.ones(16)
    state["probe.backbone.input_proj.1.weight"] = torch.ones(16, 99)
    with pytest.raises(ConfigError) as caught:
        load_published(target, load_task("geometry"), save(state, tmp_path / "best.ckpt"))
    text = str(caught.value)
    assert "missing: camera_head.embed_pose.bias" in text
    assert "unexpected: trunk.frame_blocks.7.ls1.gamma" in text
    assert "trunk.input_proj.weight (16, 99) instead of (16, 6)" in text
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_unknown_names_are_refused() -> None:
    state = {"other.weight": torch.ones(2)}
    with pytest.raises(ConfigError, match=r"other\.weight"):
        translate(state, load_task("tagging"))


def test_gaps_between_class_heads() -> None:
    state = {f"semantic_tag_head.cls_heads.{row}.weight": torch.ones(1, 4) for row in (0, 2)}
    with pytest.raises(ConfigError, match="class heads are missing"):
        translate(state, load_task("tagging"))


def test_class_heads_are_ordered_by_number() -> None:
    state = {f"semantic_tag_head.cls_heads.{row}.weight": torch.full((1, 2), float(row)) for row in (10, *range(10))}
    assert translate(state, load_task("tagging"))["head.classifier.weight"][:, 0].tolist() == [
        float(row) for row in range(11)
    ]


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(MissingError):
        read_published(tmp_path / "none.ckpt")
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(CorruptionError):
        read_published(tmp_path / "text.ckpt")
    with pytest.raises(ConfigError, match="no probe"):
        read_published(save({"model.weight": torch.ones(1)}, tmp_path / "other.ckpt"))
    state = published_names(make("instance", 1))
    state["probe.instance_head.proj1.bias"] = torch.full((64,), float("nan"))
    with pytest.raises(NonFiniteError, match=r"head\.proj1\.bias"):
        load_published(make("instance", 2), INSTANCE, save(state, tmp_path / "nan.ckpt"))


def imported(root: Path, checkpoint: Path, **given: str) -> dict[str, Any]:
    words = {"task": "instance", "root": str(root), "model": "speckle", "profile": "debug", **TINY}
    words |= {"checkpoint": str(checkpoint), **{key.replace("__", "."): value for key, value in given.items()}}
    layers = import_layers(words)
    return import_checkpoint(resolve(layers.start, layers.values, words))


def test_imported_weights_score_as_where_they_come_from(artifacts: Path, tmp_path: Path, configure: Any) -> None:
    from probe.config import EvaluateConfig

    (original,) = train(configure(artifacts, "instance"))
    run = load_checkpoint(artifacts / "runs" / original["run_id"] / "best.ckpt", original["run_id"])
    options = configure(artifacts, "instance").probe
    probe = InstanceProbe(8, (4, 4), options)
    probe.load_state_dict(run["weights"])
    path = save(published_names(probe), tmp_path / "published.ckpt")

    result = imported(artifacts, path)
    assert result["run_id"] != original["run_id"] and result["steps"] == 0
    assert result["imported"]["file"] == "published.ckpt" and len(result["imported"]["sha256"]) == 64
    assert result["report"] == original["report"] and result["select"] == original["select"]
    assert imported(artifacts, path)["finished_at"] == result["finished_at"]  # not scored twice
    applied = evaluate(EvaluateConfig(root=str(artifacts), run=result["run_id"], split="select", resamples=50))
    assert applied["metrics"]["t_miou"]["value"] == result["select"]["t_miou"]["value"]


def test_what_does_not_fit_is_refused(artifacts: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such checkpoint"):
        imported(artifacts, tmp_path / "none.ckpt")
    other = InstanceProbe(8, (4, 4), options_of("instance", "debug", {"trunk.width": "16", "trunk.heads": "2"}))
    path = save(published_names(other), tmp_path / "other.ckpt")
    with pytest.raises(ConfigError, match="another probe"):
        imported(artifacts, path, trunk__width="32")
    assert not (artifacts / "results").exists()
    with pytest.raises(ConfigError, match="one probe on one layer"):
        imported(artifacts, path, seeds="0,1")


def test_paper_is_the_default_profile() -> None:
    layers = import_layers({"task": "instance"})
    config: Any = resolve(layers.start, layers.values, {"task": "instance", "checkpoint": "x"})
    assert config.run.how.profile == "paper" and config.run.probe.trunk.width == 1024
