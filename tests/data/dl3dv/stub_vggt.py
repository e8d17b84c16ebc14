"""A package `vggt` with the API of the real one: names, arguments, shapes and dtypes, but a formula for a network.

`VGGT.from_pretrained(id, revision=...)`, `model(images)` with (B, S, 3, H, W) in [0, 1] gives `pose_enc` (B, S, 9):
world-to-camera translation, quaternion (x, y, z, w), vertical and horizontal field of view; `depth` (B, S, H, W, 1)
above 0; `depth_conf` (B, S, H, W) above 1. `pose_encoding_to_extri_intri` turns the first into (B, S, 3, 4) and
(B, S, 3, 3).
"""

from __future__ import annotations

import sys
import types
from typing import Any, ClassVar

import pytest
import torch
from torch import nn


class VGGT(nn.Module):
    """Depth is 1 + the mean of the colours of each pixel; frame s looks s degrees to the right, s / 10 further on."""

    calls: ClassVar[list[tuple[int, ...]]] = []
    loaded: ClassVar[list[tuple[str, str | None]]] = []
    poison: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.ones(()))
        self.point_head: nn.Module | None = nn.Identity()
        self.track_head: nn.Module | None = nn.Identity()

    @classmethod
    def from_pretrained(cls, name: str, revision: str | None = None) -> VGGT:
        cls.loaded.append((name, revision))
        return cls()

    def forward(self, images: torch.Tensor, query_points: Any = None) -> dict[str, torch.Tensor]:
        assert self.point_head is None and self.track_head is None  # not needed, so not run
        assert images.ndim == 5 and images.dtype == torch.float32 and images.min() >= 0 and images.max() <= 1
        assert images.shape[-1] % 14 == 0 and images.shape[-2] % 14 == 0
        assert torch.is_inference_mode_enabled()
        type(self).calls.append(tuple(images.shape))
        batch, count, _, height, width = images.shape
        depth = self.offset + images.mean(dim=2)
        if self.poison is not None:
            depth = torch.where(
                images[:, :1].mean(dim=(2, 3, 4)).reshape(batch, 1, 1, 1) < self.poison, torch.nan, depth
            )
        steps = torch.arange(count, dtype=torch.float32)
        half = torch.deg2rad(steps) / 2
        zero = torch.zeros(count)
        quaternion = torch.stack(
            [zero, -torch.sin(half), zero, torch.cos(half)], dim=-1
        )  # world to camera: the other way
        centre = torch.stack([zero, zero, steps / 10], dim=-1)
        rotation = quaternion_to_matrix(quaternion)
        translation = -(rotation @ centre[..., None])[..., 0]
        fov = torch.tensor([2 * torch.atan(torch.tensor(height / width)), torch.pi / 2]).expand(count, 2)
        encoding = torch.cat([translation, quaternion, fov], dim=-1).expand(batch, count, 9)
        return {"pose_enc": encoding, "depth": depth[..., None], "depth_conf": 1 + depth, "images": images}


def quaternion_to_matrix(quaternion: torch.Tensor) -> torch.Tensor:
    x, y, z, w = quaternion.unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w),
        2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w),
        2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).reshape(*quaternion.shape[:-1], 3, 3)


def pose_encoding_to_extri_intri(
    encoding: torch.Tensor, image_size_hw: tuple[int, int] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    assert image_size_hw is not None
    height, width = image_size_hw
    extrinsics = torch.cat([quaternion_to_matrix(encoding[..., 3:7]), encoding[..., :3, None]], dim=-1)
    intrinsics = torch.zeros(*encoding.shape[:-1], 3, 3)
    intrinsics[..., 0, 0] = width / 2 / torch.tan(encoding[..., 8] / 2)
    intrinsics[..., 1, 1] = height / 2 / torch.tan(encoding[..., 7] / 2)
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = width / 2, height / 2, 1
    return extrinsics, intrinsics


def install(monkeypatch: pytest.MonkeyPatch) -> type[VGGT]:
    """Make `import vggt` find the stub for the length of a test."""
    names = ("vggt", "vggt.models", "vggt.models.vggt", "vggt.utils", "vggt.utils.pose_enc")
    modules: dict[str, Any] = {name: types.ModuleType(name) for name in names}
    modules["vggt.models.vggt"].VGGT = VGGT
    modules["vggt.utils.pose_enc"].pose_encoding_to_extri_intri = pose_encoding_to_extri_intri
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(VGGT, "calls", [])
    monkeypatch.setattr(VGGT, "loaded", [])
    return VGGT
