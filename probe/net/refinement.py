"""Coarse-to-fine fusion of feature maps (RefineNet, Lin et al. 2017, as used by DPT)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (N, C, h, w) bilinearly with aligned corners; the same tensor if the size is right already."""
    if tuple(x.shape[-2:]) == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


class ResidualConv(nn.Module):
    """ReLU, 3x3 conv, ReLU, 3x3 conv, plus a skip.

    The skip carries relu(x), not x: the published code applies its first ReLU in place, and published weights need it.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv2 = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform (N, features, h, w), same shape out."""
        skip = F.relu(x)
        # In place where no gradient needs the input: large maps then cost no second allocation.
        out: Tensor = self.conv2(self.conv1(skip).relu_()).add_(skip)
        return out


class Fusion(nn.Module):
    """One level: add a finer map, refine, enlarge to the next level's size.

    The 1x1 convolution comes before the enlargement. Bilinear weights sum to one, so both orders give the same
    numbers, and this one works on a quarter of the pixels.
    """

    def __init__(self, features: int, *, coarsest: bool) -> None:
        super().__init__()
        self.lateral = None if coarsest else ResidualConv(features)
        self.refine = ResidualConv(features)
        self.out_conv = nn.Conv2d(features, features, 1)

    def forward(self, level: Tensor, coarser: Tensor | None, size: tuple[int, int]) -> Tensor:
        """Fuse a level with the coarser result.

        Args:
            level: (N, features, h, w) of this level.
            coarser: result of the level below, same shape; none at the coarsest level.
            size: height and width of the result.

        Returns:
            (N, features, *size).
        """
        x = level
        if self.lateral is not None and coarser is not None:
            x = coarser + self.lateral(level)
        return resize(self.out_conv(self.refine(x)), size)
