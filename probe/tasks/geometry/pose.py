"""Cameras as nine numbers (translation, quaternion xyzw, fields of view; Wang et al. 2025, VGGT), and rotations.

Everything is differentiable and runs inside networks and losses without synchronising with the host.
"""

from __future__ import annotations

import roma
import torch
from torch import Tensor
from torch.nn import functional as F


def rotate_vectors(quaternion: Tensor, vectors: Tensor) -> Tensor:
    """Rotate vectors (..., 3) by unit quaternions (..., 4)."""
    axis, real = quaternion[..., :3], quaternion[..., 3:]
    twice = 2 * torch.linalg.cross(axis, vectors)
    turned: Tensor = vectors + real * twice + torch.linalg.cross(axis, twice)
    return turned


def inverse(quaternion: Tensor) -> Tensor:
    """Return the inverse rotation of unit quaternions (..., 4)."""
    return torch.cat([-quaternion[..., :3], quaternion[..., 3:]], dim=-1)


def camera_centres(poses: Tensor) -> Tensor:
    """Return where cameras stand, -R^T t, from world-to-camera poses (..., 7 or more): translation, quaternion."""
    return -rotate_vectors(inverse(F.normalize(poses[..., 3:7], dim=-1)), poses[..., :3])


def matrix_to_quaternion(matrix: Tensor) -> Tensor:
    """Return unit quaternions (..., 4) of rotations (..., 3, 3).

    The four candidates divide by one component each; the one with the greatest divisor is exact and has a bounded
    gradient for every rotation (Shepperd 1978).
    """
    m = matrix.flatten(-2).unbind(-1)
    xx, yy, zz = m[0], m[4], m[8]
    squares = torch.stack([1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz, 1 + xx + yy + zz], dim=-1)
    candidates = torch.stack(
        [
            torch.stack([squares[..., 0], m[1] + m[3], m[2] + m[6], m[7] - m[5]], dim=-1),
            torch.stack([m[1] + m[3], squares[..., 1], m[5] + m[7], m[2] - m[6]], dim=-1),
            torch.stack([m[2] + m[6], m[5] + m[7], squares[..., 2], m[3] - m[1]], dim=-1),
            torch.stack([m[7] - m[5], m[2] - m[6], m[3] - m[1], squares[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = squares.argmax(dim=-1)[..., None, None].expand(*squares.shape[:-1], 1, 4)
    return F.normalize(candidates.gather(-2, best).squeeze(-2), dim=-1)


def axes_to_matrix(axes: Tensor) -> Tensor:
    """Return rotations (..., 3, 3) whose first two columns follow axes (..., 6) (Zhou et al. 2019).

    The first axis gives the first column, what is left of the second the second. Unlike quaternions, whose sign is
    arbitrary, this map has no jump.
    """
    first = F.normalize(axes[..., :3], dim=-1, eps=1e-6)
    second = axes[..., 3:]
    second = F.normalize(second - (first * second).sum(-1, keepdim=True) * first, dim=-1, eps=1e-6)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def encode_pose(world_to_camera: Tensor, intrinsics: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Encode cameras.

    Args:
        world_to_camera: (..., 4, 4) or (..., 3, 4), OpenCV axes.
        intrinsics: (..., 3, 3) in pixels of `image_size`.
        image_size: height and width in pixels.

    Returns:
        (..., 9): translation (3), quaternion xyzw with w >= 0 (4), vertical and horizontal field of view in radians.
    """
    height, width = image_size
    quaternion = roma.rotmat_to_unitquat(world_to_camera[..., :3, :3])
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    fov_h = 2 * torch.atan((height / 2) / intrinsics[..., 1, 1])
    fov_w = 2 * torch.atan((width / 2) / intrinsics[..., 0, 0])
    return torch.cat([world_to_camera[..., :3, 3], quaternion, fov_h[..., None], fov_w[..., None]], dim=-1)


def decode_pose(pose: Tensor, image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Decode cameras; the quaternion need not have unit length.

    Args:
        pose: (..., 9) of `encode_pose` or a probe.
        image_size: height and width in pixels.

    Returns:
        World-to-camera matrices (..., 3, 4) and intrinsics (..., 3, 3) with the principal point at the centre.
        A quaternion of length zero gives the identity rotation; a field of view of zero an infinite focal length.
    """
    height, width = image_size
    quaternion = pose[..., 3:7]
    length = quaternion.norm(dim=-1, keepdim=True)
    identity = quaternion.new_tensor([0.0, 0.0, 0.0, 1.0])
    unit = torch.where(length > 0, quaternion / torch.where(length > 0, length, 1.0), identity)
    rotation = roma.unitquat_to_rotmat(unit)
    world_to_camera = torch.cat([rotation, pose[..., :3, None]], dim=-1)
    intrinsics = torch.zeros(*pose.shape[:-1], 3, 3, dtype=pose.dtype, device=pose.device)
    intrinsics[..., 0, 0] = (width / 2) / torch.tan(pose[..., 8] / 2)
    intrinsics[..., 1, 1] = (height / 2) / torch.tan(pose[..., 7] / 2)
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1.0
    return world_to_camera, intrinsics
