"""Linear read-outs: LayerNorm and one Linear per output, no trunk, to measure what is linear in the features."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from probe.net.dpt import output_size, resize


class LinearTagger(nn.Module):
    """Logits from the mean token of a clip."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.classifier = nn.Linear(channels, num_classes)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, S, h, w, C) to logits (B, classes)."""
        tokens = self.norm(features.to(self.norm.weight.dtype))
        out: Tensor = self.classifier(tokens.mean(dim=(1, 2, 3)).to(self.classifier.weight.dtype))
        return out.float()


class LinearEmbedder(nn.Module):
    """Unit instance embeddings, cell by cell."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, out)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, S, h, w, C) to embeddings (B, S, h, w, out)."""
        x = self.project(self.norm(features.to(self.norm.weight.dtype)))
        return F.normalize(x.float(), dim=-1, eps=1e-12)


class LinearDense(nn.Module):
    """Raw depth and points, cell by cell, enlarged bilinearly to the output's size."""

    def __init__(self, channels: int, outputs: int, output_scale: float) -> None:
        super().__init__()
        self.output_scale = output_scale
        self.norm = nn.LayerNorm(channels)
        self.project = nn.Linear(channels, outputs)

    def forward(self, features: Tensor, image_size: tuple[int, int]) -> Tensor:
        """Map features (B, S, h, w, C) to (B, S, H, W, outputs)."""
        x = self.project(self.norm(features.to(self.norm.weight.dtype))).flatten(0, 1).permute(0, 3, 1, 2)
        x = resize(x.float(), output_size(image_size, self.output_scale)).permute(0, 2, 3, 1)
        return x.reshape(*features.shape[:2], *x.shape[1:])
