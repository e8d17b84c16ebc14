"""The probe's own layers: alternating attention inside each frame and across all frames (Wang et al. 2025, VGGT)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from configs.errors import ConfigError
from probe.net.attention import Block, rotary_tables
from probe.net.config import TrunkConfig
from probe.net.gating import BranchGate

NORM_FLOOR = 0.1
"""Least standard deviation of a channel, over the mean of all channels': silent channels aren't blown up."""
NORM_EPS = 1e-6


class ChannelNorm(nn.Module):
    """Standardises each channel by its mean and deviation over all tokens seen in training.

    LayerNorm, as published, divides a token by its own deviation, so what a channel says gets mixed with how strong
    the token's other channels are; a depth that was linear in the features no longer is. Here a token is mapped
    affinely, by numbers that are the same for all tokens. They're gathered while training, from features alone and
    without gradient, each token with equal weight, and fixed in evaluation.

    Args:
        channels: width C of the features.
    """

    count: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, tokens: Tensor) -> Tensor:
        """Standardise tokens (..., C), float32; in training they're counted first."""
        if self.training:
            self._count(tokens.detach().flatten(0, -2).float())
        deviation = self.variance.sqrt()
        scale = (self.variance + (NORM_FLOOR * deviation.mean()) ** 2 + NORM_EPS**2).rsqrt()
        return (tokens - self.mean) * scale

    def _count(self, tokens: Tensor) -> None:
        """Merge the statistics of (N, C) tokens into those of all before (Chan et al. 1983)."""
        variance, mean = torch.var_mean(tokens, dim=0, correction=0)
        total = self.count + tokens.shape[0]
        share = tokens.shape[0] / total
        apart = mean - self.mean
        self.variance.copy_((1 - share) * self.variance + share * variance + share * (1 - share) * apart**2)
        self.mean.add_(share * apart)
        self.count.copy_(total)


def build_input_norm(kind: str, channels: int) -> nn.Module:
    """Return the norm that `trunk.input_norm` names: `token` LayerNorm as published, `channel` `ChannelNorm`."""
    return ChannelNorm(channels) if kind == "channel" else nn.LayerNorm(channels)


# Float32 values kept for backward per token, channel and block, measured in tests/probe/net/test_trunk.py.
SAVED_PER_TOKEN = 26


class Trunk(nn.Module):
    """A norm and a Linear on the features, special tokens, then `depth` pairs of a frame block and a global block.

    The blocks don't know when a frame was taken, only if it is the first, unless `query_time` is set: permuting frames
    1..S-1 permutes the outputs.

    Args:
        channels: width C of the backbone's features.
        grid: rows and columns of the feature map.
        config: sizes and options. `depth` 0 keeps the input projection only (read-out ablation).

    Raises:
        ConfigError: the width isn't a multiple of 4 times the heads.
    """

    cosines: Tensor
    sines: Tensor

    def __init__(self, channels: int, grid: tuple[int, int], config: TrunkConfig) -> None:
        super().__init__()
        if config.width % (4 * config.heads):
            raise ConfigError(
                "trunk.width must be a multiple of 4 times trunk.heads",
                expected=f"a multiple of {4 * config.heads}",
                found=config.width,
                fix=f"set trunk.width={math.ceil(config.width / (4 * config.heads)) * 4 * config.heads}",
            )
        self.config = config
        self.channels, self.grid = channels, grid
        self.specials = 1 + config.registers
        self.input_norm = build_input_norm(config.input_norm, channels)
        self.input_proj = nn.Linear(channels, config.width)
        # Slot 0 serves the first frame, slot 1 all others.
        self.camera_token = nn.Parameter(torch.empty(1, 2, 1, config.width).normal_(std=1e-6))
        self.register_token = nn.Parameter(torch.empty(1, 2, config.registers, config.width).normal_(std=1e-6))
        self.frame_blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.global_blocks = nn.ModuleList(self._block() for _ in range(config.depth))
        self.query_time = QueryTime(config.width) if config.query_time else None
        tables = rotary_tables(grid, config.width // config.heads, specials=self.specials, base=config.rope_base)
        device = self.input_proj.weight.device
        self.register_buffer("cosines", tables[0].to(device), persistent=False)
        self.register_buffer("sines", tables[1].to(device), persistent=False)

    @property
    def stage_width(self) -> int:
        """Channels of a stage: frame-block and global-block outputs side by side."""
        return 2 * self.config.width

    def forward(
        self, features: Tensor, stages: Sequence[int] = (-1,), query_times: Tensor | None = None
    ) -> list[Tensor]:
        """Return the requested stages.

        Args:
            features: (B, S, h, w, C), any floating dtype.
            stages: indices of pairs, negative from the end; repeats share one tensor. At depth 0 all are the
                projected tokens, twice side by side.
            query_times: (B, S) times in any unit, used with `query_time` only; default the index of the query.

        Returns:
            One tensor (B, S, 1 + registers + h*w, 2 * width) per stage, patches last in row-major order.

        Raises:
            ConfigError: the features have another grid or width than the trunk was built for.
        """
        if features.ndim != 5 or tuple(features.shape[2:]) != (*self.grid, self.channels):
            expected = f"(B, S, {self.grid[0]}, {self.grid[1]}, {self.channels})"
            raise ConfigError(
                "these features don't fit the probe",
                expected=expected,
                found=tuple(features.shape),
                fix="build the probe for the grid and width of the store it reads",
            )
        b, s = features.shape[:2]
        x = self._tokens(features, query_times)
        depth = self.config.depth
        if depth == 0:
            stage = torch.cat([x, x], dim=-1).view(b, s, x.shape[1], -1)
            return [stage for _ in stages]
        wanted = [index % depth for index in stages]
        frame_tables = (self.cosines, self.sines)
        global_tables = (self.cosines.repeat(s, 1), self.sines.repeat(s, 1))
        recompute = self._recompute(x)
        kept: dict[int, Tensor] = {}
        for index, (frame, across) in enumerate(zip(self.frame_blocks, self.global_blocks, strict=True)):
            within = _run(frame, x, frame_tables, recompute)
            x = _run(across, within.reshape(b, -1, within.shape[-1]), global_tables, recompute).view_as(within)
            if index in wanted:
                kept[index] = torch.cat([within, x], dim=-1).view(b, s, x.shape[1], -1)
        return [kept[index] for index in wanted]

    def gate(self, branches: Sequence[int]) -> None:
        """Replace the freshly built input projection by a learned gate over the branches of fused features.

        Args:
            branches: widths of the branches, in the order of the channels.
        """
        gate = BranchGate(branches, self.config.width)
        self.input_proj = gate.to(self.camera_token.device)  # type: ignore[assignment]

    def _tokens(self, features: Tensor, query_times: Tensor | None) -> Tensor:
        """Return (B*S, P, width): camera token, registers, projected patches."""
        b, s = features.shape[:2]
        flat = features.flatten(0, 1).flatten(1, 2).to(self.camera_token.dtype)
        patches = self.project(flat)
        special = torch.cat([self.camera_token, self.register_token], dim=2)
        special = torch.cat([special[:, :1], special[:, 1:].expand(-1, s - 1, -1, -1)], dim=1)
        special = special.expand(b, -1, -1, -1).flatten(0, 1)
        # Under autocast the patches are bfloat16; the residual stream stays in the parameters' dtype.
        x = torch.cat([special, patches.to(special.dtype)], dim=1)
        if self.query_time is not None:
            if query_times is None:
                query_times = torch.arange(s, device=x.device).expand(b, s)
            x = x + self.query_time(query_times.flatten())[:, None]
        return x

    def project(self, tokens: Tensor) -> Tensor:
        """Norm and Linear. LayerNorm's gain and offset go into the Linear: no gradient is as wide as the features."""
        norm, proj = self.input_norm, self.input_proj
        if not (isinstance(norm, nn.LayerNorm) and isinstance(proj, nn.Linear)):  # a gate has a Linear per branch
            out: Tensor = proj(norm(tokens))
            return out
        standard = F.layer_norm(tokens, norm.normalized_shape, eps=norm.eps)
        return F.linear(standard, proj.weight * norm.weight, proj.bias + proj.weight @ norm.bias)

    def _recompute(self, x: Tensor) -> bool:
        """Decide from shapes alone, so that a compiled graph needs no memory query."""
        if not (self.training and torch.is_grad_enabled()):
            return False
        if self.config.checkpointing == "auto":
            values = SAVED_PER_TOKEN * x.shape[0] * x.shape[1] * x.shape[2] * 2 * self.config.depth
            return values * 4 > self.config.activation_budget_gib * 2**30
        return self.config.checkpointing == "on"

    def _block(self) -> Block:
        c = self.config
        return Block(
            c.width, c.heads, mlp_ratio=c.mlp_ratio, qk_norm=True, layer_scale=c.layer_scale, dropout=c.dropout
        )


class QueryTime(nn.Module):
    """Sinusoidal code of a query's time through a Linear that starts at zero, so that training starts without it."""

    bands: Tensor

    def __init__(self, width: int, bands: int = 16) -> None:
        super().__init__()
        self.proj = nn.Linear(2 * bands, width)
        nn.init.zeros_(self.proj.weight)
        nn.init.zeros_(self.proj.bias)
        frequencies = torch.exp(-math.log(100.0) * torch.arange(bands, device=self.proj.weight.device) / bands)
        self.register_buffer("bands", frequencies, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """Map times (N,) to (N, width)."""
        angles = times.to(self.bands.dtype)[:, None] * self.bands
        out: Tensor = self.proj(torch.cat([angles.sin(), angles.cos()], dim=-1))
        return out


def _run(block: nn.Module, x: Tensor, tables: tuple[Tensor, Tensor], recompute: bool) -> Tensor:
    out: Tensor = checkpoint(block, x, tables, use_reentrant=False) if recompute else block(x, tables)
    return out
