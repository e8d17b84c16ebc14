"""The nine numbers of a camera: translation, quaternion and fields of view (Wang et al. 2025, VGGT)."""

from __future__ import annotations

import roma
import torch
from torch import Tensor


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
