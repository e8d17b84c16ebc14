from __future__ import annotations

import math

import pytest
import roma
import torch

from probe.tasks.geometry.pose import decode_pose, encode_pose


def cameras(count: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    world_to_camera = torch.eye(4).repeat(count, 1, 1)
    world_to_camera[:, :3, :3] = roma.random_rotmat(count)
    world_to_camera[:, :3, 3] = torch.randn(count, 3)
    intrinsics = torch.eye(3).repeat(count, 1, 1)
    intrinsics[:, 0, 0], intrinsics[:, 1, 1] = 40.0, 30.0
    intrinsics[:, 0, 2], intrinsics[:, 1, 2] = 32.0, 24.0
    return world_to_camera, intrinsics


def test_round_trip() -> None:
    world_to_camera, intrinsics = cameras()
    pose = encode_pose(world_to_camera, intrinsics, (48, 64))
    found, focal = decode_pose(pose, (48, 64))
    torch.testing.assert_close(found, world_to_camera[:, :3], atol=1e-5, rtol=0)
    torch.testing.assert_close(focal, intrinsics, atol=1e-4, rtol=1e-5)


def test_layout() -> None:
    turn = torch.eye(4)
    turn[:3, :3] = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # 90 degrees about z
    turn[:3, 3] = torch.tensor([1.0, 2, 3])
    intrinsics = torch.tensor([[32.0, 0, 32], [0, 24 / math.tan(0.3), 24], [0, 0, 1]])
    pose = encode_pose(turn, intrinsics, (48, 64))
    half = math.sqrt(0.5)
    assert pose.tolist() == pytest.approx([1, 2, 3, 0, 0, half, half, 0.6, math.pi / 2], abs=1e-6)


def test_quaternions_have_a_positive_real_part() -> None:
    pose = encode_pose(*cameras(200), (48, 64))
    assert (pose[:, 6] >= 0).all()
    torch.testing.assert_close(pose[:, 3:7].norm(dim=-1), torch.ones(200))


def test_length_of_the_quaternion_does_not_matter() -> None:
    pose = encode_pose(*cameras(), (48, 64))
    scaled = pose.clone()
    scaled[:, 3:7] *= -3.0
    torch.testing.assert_close(decode_pose(scaled, (48, 64))[0], decode_pose(pose, (48, 64))[0], atol=1e-6, rtol=0)


def test_quaternion_of_length_zero() -> None:
    matrix, _ = decode_pose(torch.tensor([0.0, 0, 0, 0, 0, 0, 0, 1, 1]), (48, 64))
    assert torch.equal(matrix[:, :3], torch.eye(3))
