"""The learned gate of fused features inside a probe: it takes the place of the projection of concatenated channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from cache.format.spec import ArraySpec
from configs.errors import ConfigError
from fusion.gate import BranchGate
from probe.net.trunk import Trunk


def install_gate(probe: nn.Module, branches: Sequence[int]) -> None:
    """Replace a freshly built probe's input projection by a gate over the branches.

    Args:
        probe: one of `probe.tasks.geometry.head`.
        branches: widths of the branches, in the order of the channels.

    Raises:
        ConfigError: a linear read-out, which has no place for a gate.
    """
    trunk = getattr(probe, "trunk", None)
    if not isinstance(trunk, Trunk):
        raise ConfigError("a linear read-out can't gate", fix="leave readout=linear out, or use the plain fusion a+b")
    gate = BranchGate(branches, trunk.config.width)
    trunk.input_proj = gate.to(trunk.camera_token.device)  # type: ignore[assignment]


def refuse_matched_gate(branches: Sequence[int], projected: bool, array: ArraySpec) -> None:
    """Refuse to project the channels of gated features: the branches would be mixed.

    Raises:
        ConfigError: an array with a gate, and a projection.
    """
    if branches and projected:
        raise ConfigError(
            "gated features can't be projected to another width",
            expected=f"{sum(branches)} channels in branches of {', '.join(map(str, branches))}",
            found="match.width",
            where=array.name,
            fix="leave match.width out, or use a+b@pca<width>",
        )
