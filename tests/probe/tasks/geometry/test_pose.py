"""Poses as the camera head encodes them, and their rotations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import roma
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from probe.tasks.geometry.pose import (
    axes_to_matrix,
    camera_centres,
    decode_pose,
    encode_pose,
    inverse,
    matrix_to_quaternion,
    rotate_vectors,
)


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


def special_rotations() -> Rotation:
    """Random ones, half turns about each axis and a few others, and the identity."""
    half = np.pi * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0, 0.6, -0.8]])
    return Rotation.concatenate(
        [Rotation.random(50, rng=np.random.default_rng(0)), Rotation.from_rotvec(half), Rotation.identity(1)]
    )


def test_quaternions_of_all_rotations() -> None:
    rotations = special_rotations()
    matrices = torch.from_numpy(rotations.as_matrix()).requires_grad_()
    found = matrix_to_quaternion(matrices)
    expected = rotations.as_quat()
    sign = np.sign((found.detach().numpy() * expected).sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(sign * found.detach().numpy(), expected, atol=1e-9)
    torch.autograd.backward(found.sum())
    assert matrices.grad is not None and matrices.grad.abs().max() < 10  # no branch divides by nearly nothing


def test_vectors_turn_and_turn_back() -> None:
    rotations = special_rotations()
    quaternions = torch.from_numpy(rotations.as_quat())
    vectors = torch.from_numpy(np.random.default_rng(1).standard_normal((len(rotations), 3)))
    turned = rotate_vectors(quaternions, vectors)
    np.testing.assert_allclose(turned.numpy(), rotations.apply(vectors.numpy()), atol=1e-9)
    torch.testing.assert_close(rotate_vectors(inverse(quaternions), turned), vectors)


def test_centres_of_cameras() -> None:
    rotations, places = special_rotations(), np.random.default_rng(2).standard_normal((56, 3))
    translations = -rotations.apply(places)
    poses: Tensor = torch.from_numpy(np.concatenate([translations, 3 * rotations.as_quat(), np.ones((56, 2))], axis=1))
    np.testing.assert_allclose(camera_centres(poses).numpy(), places, atol=1e-9)


def test_axes_of_any_length_give_rotations() -> None:
    axes = torch.randn(20, 6, dtype=torch.float64)
    matrices = axes_to_matrix(axes)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(20, 3, 3))
    assert (torch.linalg.det(matrices) > 0).all()
    assert axes_to_matrix(torch.zeros(1, 6)).isfinite().all()
