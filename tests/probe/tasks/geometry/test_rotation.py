from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from probe.tasks.geometry.pose import axes_to_matrix, camera_centres, inverse, matrix_to_quaternion, rotate_vectors


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
