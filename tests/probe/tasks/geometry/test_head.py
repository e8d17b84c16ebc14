from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.tasks.geometry.config import CameraConfig
from probe.tasks.geometry.head import CameraHead, activate_pose, moment_weights
from probe.tasks.geometry.pose import decode_pose
from tests.probe.gradients import gradient

PAPER = CameraConfig(depth=2, heads=2, at_depth_0="constant", form="paper")
GRID = (2, 3)
STANDARD = CameraConfig(width=16, depth=1, heads=2, tokens="both", at_depth_0="pooled")


def test_equals_the_published_refinement() -> None:
    head = CameraHead(24, 4, PAPER, GRID)
    torch.nn.init.normal_(head.empty_pose)
    stage = torch.randn(2, 3, 5 + 6, 24)
    tokens = head.token_norm(stage[:, :, 0])
    pose, expected = None, []
    for _ in range(4):
        code = head.embed_pose(head.empty_pose.expand(2, 3, -1) if pose is None else pose.detach())
        shift, scale, gate = head.modulation(F.silu(code)).chunk(3, dim=-1)
        x = tokens + gate * (F.layer_norm(tokens, (24,), eps=1e-6) * (1 + scale) + shift)
        for block in head.blocks:
            x = block(x)
        step = head.branch(head.norm(x))
        pose = step if pose is None else pose.detach() + step
        expected.append(torch.cat([pose[..., :7], pose[..., 7:].relu()], dim=-1))
    torch.testing.assert_close(head(stage, 5), torch.stack(expected))


def test_paper_form_leaves_negative_fields_of_view_without_gradient() -> None:
    raw = torch.full((1, 2, 9), -0.5, requires_grad=True)
    torch.autograd.backward(activate_pose(raw, "paper").sum())
    assert (gradient(raw)[..., 7:] == 0).all()
    assert (gradient(raw)[..., :7] == 1).all()


def test_standard_form_keeps_a_gradient_and_fixes_query_0() -> None:
    raw = torch.full((1, 3, 11), -0.5, requires_grad=True)
    pose = activate_pose(raw, "standard")
    assert pose[0, 0, :7].tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert (pose[..., 7:] > 0).all()
    torch.autograd.backward(pose.square().sum())
    assert (gradient(raw)[..., 9:] > 0).all()
    assert (gradient(raw)[:, 1:, :3].abs() > 0).all()
    assert (gradient(raw)[:, 0, :9] == 0).all()


def test_standard_form_reads_place_and_axes_of_the_camera() -> None:
    generator = np.random.default_rng(0)
    raw = torch.zeros(1, 4, 11, dtype=torch.float64)
    rotations, places = Rotation.random(3, rng=generator).as_matrix(), generator.standard_normal((3, 3))
    for i, (rotation, place) in enumerate(zip(rotations, places, strict=True)):
        # axes of any length, the second not even perpendicular to the first
        axes = np.concatenate([2 * rotation[:, 0], 3 * rotation[:, 1] + 0.5 * rotation[:, 0]])
        raw[0, 1 + i, :3] = torch.from_numpy(place)
        raw[0, 1 + i, 3:9] = torch.from_numpy(axes - [1, 0, 0, 0, 1, 0])
    world_to_camera = decode_pose(activate_pose(raw, "standard"), (8, 8))[0][0, 1:].numpy()
    np.testing.assert_allclose(world_to_camera[:, :, :3], rotations.transpose(0, 2, 1), atol=1e-6)
    np.testing.assert_allclose(
        -np.einsum("vji,vj->vi", world_to_camera[:, :, :3], world_to_camera[:, :, 3]), places, atol=1e-6
    )


def test_moments_tell_how_a_picture_changes_across_and_down() -> None:
    rows, columns = np.mgrid[0:3, 0:4]
    across, down = (2 * columns + 1) / 4 - 1, (2 * rows + 1) / 3 - 1
    plane = torch.from_numpy(5.0 + 2.0 * across + 3.0 * down).float().flatten()
    mean, right, below = (moment_weights((3, 4)) @ plane).tolist()
    assert mean == pytest.approx(5.0)
    assert right == pytest.approx(2.0 * np.sqrt((across**2).mean()))
    assert below == pytest.approx(3.0 * np.sqrt((down**2).mean()))
    assert moment_weights((1, 4)).isfinite().all()


def test_paper_camera_is_constant_without_trunk_blocks() -> None:
    head = CameraHead(24, 0, PAPER, GRID)
    stage = torch.randn(2, 3, 11, 24)
    stage[:, :, 0] = stage[:1, :1, 0]
    poses = head(stage, 5)
    assert torch.allclose(poses, poses[:, :1, :1].expand_as(poses), atol=1e-6)


def test_standard_camera_reads_patches_without_trunk_blocks() -> None:
    head = CameraHead(24, 0, STANDARD, GRID)
    stage = torch.randn(2, 3, 11, 24)
    stage[:, :, :5] = 0.0
    poses = head(stage, 5)
    assert (poses[-1, 0] - poses[-1, 1]).abs().max() > 1e-3


def test_refusal_without_trunk_blocks() -> None:
    with pytest.raises(ConfigError, match=r"camera\.at_depth_0=pooled"):
        CameraHead(24, 0, dataclasses.replace(STANDARD, at_depth_0="refuse"), GRID)
    CameraHead(24, 1, dataclasses.replace(STANDARD, at_depth_0="refuse"), GRID)


@pytest.mark.parametrize("tokens", ["camera", "pooled", "both", "moments", "products"])
@pytest.mark.parametrize("width", [0, 16])
def test_sources_and_widths(tokens: str, width: int) -> None:
    head = CameraHead(24, 1, dataclasses.replace(STANDARD, tokens=tokens, width=width), GRID)
    poses = head(torch.randn(2, 3, 11, 24), 5)
    assert tuple(poses.shape) == (4, 2, 3, 9)
    assert poses.isfinite().all()


def test_one_query() -> None:
    assert tuple(CameraHead(24, 1, STANDARD, GRID)(torch.randn(2, 1, 11, 24), 5).shape) == (4, 2, 1, 9)


def test_start_is_one_linear_and_gets_refined() -> None:
    head = CameraHead(24, 1, dataclasses.replace(STANDARD, tokens="moments", start=True), GRID)
    stage = torch.randn(2, 3, 11, 24)
    patches = stage[:, :, 5:]
    seen = torch.cat([stage[:, :, 0], *(torch.einsum("p,bspc->bsc", row, patches) for row in head.moments)], dim=-1)
    assert head.start is not None
    expected = activate_pose(head.start(seen), "standard")
    poses = head(stage, 5)
    torch.testing.assert_close(poses, expected.expand_as(poses))  # refinements start at nothing
    torch.autograd.backward(poses.square().sum())
    assert head.start.weight.grad is not None and head.start.weight.grad.abs().max() > 0
    assert head.branch.fc2.weight.grad is not None and head.branch.fc2.weight.grad.abs().max() > 0
    torch.nn.init.normal_(head.branch.fc2.weight)
    assert (head(stage, 5) - expected).abs().max() > 1e-2


def test_products_are_pairs_of_linear_maps_of_the_moments() -> None:
    head = CameraHead(24, 0, dataclasses.replace(STANDARD, tokens="products", start=True), GRID)
    assert head.factors is not None and head.start is not None
    stage = torch.randn(1, 2, 5 + 6, 24)
    weight, bias = head.factors.weight, head.factors.bias
    moments = torch.einsum("kp,bspc->bskc", head.moments, stage[:, :, 5:]).flatten(2)
    expected = torch.zeros(1, 2, 24)
    for query, of_query in enumerate(moments[0]):
        expected[0, query] = (weight[:24] @ of_query + bias[:24]) * (weight[24:] @ of_query + bias[24:])
    start = activate_pose(head.start(torch.cat([moments, expected], dim=-1)), "standard")
    torch.testing.assert_close(head(stage, 5)[0], start, atol=1e-5, rtol=1e-4)
