"""Iterative camera head with adaptive LayerNorm (VGGT; adaLN: Peebles and Xie 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.attention import Block, Mlp
from probe.profiles import CameraConfig

POSE = 9  # translation 3, quaternion xyzw 4, fields of view 2


def activate_pose(raw: Tensor, form: str) -> Tensor:
    """Turn raw numbers (..., S, 9) into poses.

    `paper`: translation and quaternion as they are, ReLU on the fields of view. `standard`: the quaternion is an
    offset from the identity, softplus keeps a gradient on the fields of view, and view 0, the reference, has
    translation zero and the identity rotation by definition.
    """
    if form == "paper":
        return torch.cat([raw[..., :7], F.relu(raw[..., 7:])], dim=-1)
    motion = raw[..., :7]
    motion = torch.cat([torch.zeros_like(motion[..., :1, :]), motion[..., 1:, :]], dim=-2)
    offset = motion[..., 6:7] + 1.0
    return torch.cat([motion[..., :6], offset, F.softplus(raw[..., 7:])], dim=-1)


class CameraHead(nn.Module):
    """Refines the poses of all views of a clip together, a few times with the same weights.

    Args:
        width: channels of a trunk stage.
        trunk_depth: pairs of the trunk; without any, camera tokens are constants and say nothing about the clip.
        config: sizes and options.

    Raises:
        ConfigError: camera tokens of a trunk without blocks, unless `at_depth_0` allows something else.
    """

    def __init__(self, width: int, trunk_depth: int, config: CameraConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = config.tokens
        if trunk_depth == 0 and config.tokens != "pooled":
            if config.at_depth_0 == "refuse":
                raise ConfigError(
                    "without trunk blocks the camera tokens are constants: every clip would get the same cameras",
                    expected="a trunk of depth 1 or more, or another source of tokens",
                    found=f"camera.tokens={config.tokens}",
                    fix="set camera.at_depth_0=pooled, or leave the camera out with loss.camera=0 at_depth_0=constant",
                )
            if config.at_depth_0 == "pooled":
                self.tokens = "pooled"
        inputs = 2 * width if self.tokens == "both" else width
        inner = config.width or inputs
        self.token_norm = nn.LayerNorm(inputs)
        self.reduce: nn.Module = nn.Identity() if inner == inputs else nn.Linear(inputs, inner)
        self.empty_pose = nn.Parameter(torch.zeros(1, 1, POSE))
        self.embed_pose = nn.Linear(POSE, inner)
        self.modulation = nn.Linear(inner, 3 * inner)
        self.blocks = nn.ModuleList(
            Block(inner, config.heads, mlp_ratio=4, qk_norm=False, layer_scale=config.layer_scale, dropout=0.0)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(inner)
        self.branch = Mlp(inner, inner // 2, POSE)

    def forward(self, stage: Tensor, specials: int) -> Tensor:
        """Estimate the cameras.

        Args:
            stage: (B, S, P, width), the trunk's last stage.
            specials: number of tokens before the patches.

        Returns:
            (iterations, B, S, 9) activated poses, the final ones last; layout of `probe.pose.encode_pose`.
        """
        sources = []
        if self.tokens in ("camera", "both"):
            sources.append(stage[:, :, 0])
        if self.tokens in ("pooled", "both"):
            sources.append(stage[:, :, specials:].mean(dim=2))
        tokens = self.reduce(self.token_norm(torch.cat(sources, dim=-1)))
        normed = F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)
        raw: Tensor | None = None
        poses = []
        for _ in range(self.config.iterations):
            # Carried over raw, not activated, and without gradient: each iteration learns its own step.
            before = None if raw is None else raw.detach()
            known = self.empty_pose.expand(*tokens.shape[:2], -1) if before is None else before
            shift, scale, gate = self.modulation(F.silu(self.embed_pose(known))).chunk(3, dim=-1)
            x = tokens + gate * (normed * (1 + scale) + shift)
            for block in self.blocks:
                x = block(x)
            delta = self.branch(self.norm(x))
            raw = delta if before is None else before + delta
            poses.append(activate_pose(raw.float(), self.config.form))
        return torch.stack(poses)
