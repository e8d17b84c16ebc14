"""How features are brought to a common size before a probe's first Linear."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 0.1
"""Least standard deviation of a channel, over the mean of all channels': silent channels aren't blown up."""
EPS = 1e-6


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
        scale = (self.variance + (FLOOR * deviation.mean()) ** 2 + EPS**2).rsqrt()
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
