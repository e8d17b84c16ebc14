"""A learned gate that weights the branches in every cell; the probe trains it instead of concatenating."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cache.format.spec import ArraySpec


class BranchGate(nn.Module):
    """Weighted sum of linearly projected branches, with weights from a softmax per cell.

    Branches that are normalised already (variant `gated`) need no norm here. At the start all weights are equal.

    Args:
        widths: channels of each branch, in order.
        channels: width of the result; what follows is as wide, independently of the branches.
    """

    def __init__(self, widths: Sequence[int], channels: int) -> None:
        super().__init__()
        self.widths, self.channels = tuple(int(width) for width in widths), channels
        self.projections = nn.ModuleList(nn.Linear(width, channels) for width in self.widths)
        self.gate = nn.Linear(sum(self.widths), len(self.widths))
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def weights(self, features: Tensor) -> Tensor:
        """Return the weights (..., branches) of cells (..., sum of widths): positive, of sum 1 over branches."""
        return torch.softmax(self.gate(features).float(), dim=-1)

    def forward(self, features: Tensor) -> Tensor:
        """Map concatenated cells (..., sum of widths) to (..., channels), in the dtype of the parameters."""
        features = features.to(self.gate.weight.dtype)
        weights = self.weights(features).to(features.dtype).unbind(-1)
        parts = torch.split(features, list(self.widths), dim=-1)
        total: Tensor | None = None
        for weight, projection, part in zip(weights, self.projections, parts, strict=True):
            value = weight.unsqueeze(-1) * projection(part)
            total = value if total is None else total + value
        assert total is not None
        return total


def gated_widths(array: ArraySpec) -> tuple[int, ...]:
    """Return the branch widths of an array that asks for a gate, () for all others."""
    facts: dict[str, Any] = dict(array.extra)
    if facts.get("combine") != "gate":
        return ()
    return tuple(int(branch["channels"]) for branch in facts["branches"])
