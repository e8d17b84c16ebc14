"""The instance probe: a small MLP embeds every patch token with unit length, or a linear read-out."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from probe.module import heads_precision
from probe.net.linear import LinearEmbedder
from probe.net.trunk import Trunk
from probe.tasks.instance.config import EmbedderConfig, InstanceOptions


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


class InstanceProbe(nn.Module):
    """Which cells belong to one object."""

    def __init__(self, channels: int, grid: tuple[int, int], config: InstanceOptions) -> None:
        super().__init__()
        self.heads_fp32, self.grid = config.heads_fp32, grid
        self.trunk: Trunk | None = None
        if config.readout == "linear":
            self.linear = LinearEmbedder(channels, config.head.channels)
            return
        self.trunk = Trunk(channels, grid, config.trunk)
        self.head = InstanceHead(self.trunk.stage_width, config.head)

    def forward(
        self, features: Tensor, image_size: tuple[int, int] | None = None, query_times: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Map features (B, S, h, w, C) to `embeddings` (B, S, E, h, w), unit vectors; `image_size` is ignored."""
        if self.trunk is None:
            return {"embeddings": self.linear(features).movedim(-1, 2)}
        stage = self.trunk(features, (-1,), query_times)[0]
        with heads_precision(stage, self.heads_fp32):
            patches = stage[:, :, self.trunk.specials :].unflatten(2, self.grid)
            return {"embeddings": self.head(patches).movedim(-1, 2)}
