"""Per-cell instance embedding: a small MLP on every patch token, unit length."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from probe.net.config import EmbedderConfig


class InstanceHead(nn.Module):
    """Three Linear layers with GELU between them, then L2 normalisation.

    Args:
        width: channels of a trunk stage.
        config: hidden and output channels.
    """

    def __init__(self, width: int, config: EmbedderConfig) -> None:
        super().__init__()
        self.proj1 = nn.Linear(width, config.hidden)
        self.proj2 = nn.Linear(config.hidden, config.hidden)
        self.proj3 = nn.Linear(config.hidden, config.channels)

    def forward(self, patches: Tensor) -> Tensor:
        """Embed patch tokens (B, S, h, w, width) as unit vectors (B, S, h, w, channels), float32."""
        x = self.proj3(F.gelu(self.proj2(F.gelu(self.proj1(patches)))))
        return F.normalize(x.float(), dim=-1, eps=1e-12)
