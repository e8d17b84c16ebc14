"""Pre-norm transformer block: QK-norm, rotary positions on a 2-D grid, LayerScale, and dropout cheap on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import ConfigError


def rotary_tables(grid: tuple[int, int], head_dim: int, *, specials: int, base: float = 100.0) -> tuple[Tensor, Tensor]:
    """Return the cosines and sines that rotate the tokens of one frame.

    The first half of a head's channels is rotated by the row, the second by the column. Within a half of size `a` the
    bands are `base ** (-2 j / a)`, j = 0 .. a/2-1, and the angles are laid out as [row * f, row * f] (rotate-half
    form). Special tokens come first, at position (0, 0), which leaves them unrotated; patch (r, c) is at (r+1, c+1).

    Args:
        grid: rows and columns of the patch grid.
        head_dim: channels per attention head, a multiple of 4.
        specials: number of tokens before the patches.
        base: largest wavelength divided by 2 pi.

    Returns:
        Two float32 tensors (specials + rows * columns, head_dim).

    Raises:
        ConfigError: `head_dim` isn't a positive multiple of 4, or `base` isn't positive.
    """
    if head_dim <= 0 or head_dim % 4:
        raise ConfigError("wrong channels per head", expected="a positive multiple of 4", found=head_dim)
    if base <= 0:
        raise ConfigError("wrong base of the rotary encoding", expected="above 0", found=base)
    half = head_dim // 2
    bands = base ** (-torch.arange(0, half, 2, dtype=torch.float64, device="cpu") / half)
    rows = torch.arange(1, grid[0] + 1, dtype=torch.float64, device="cpu").repeat_interleave(grid[1])
    columns = torch.arange(1, grid[1] + 1, dtype=torch.float64, device="cpu").repeat(grid[0])
    patches = torch.stack([rows, columns], dim=-1)
    positions = torch.cat([torch.zeros(specials, 2, dtype=torch.float64, device="cpu"), patches])
    angles = (positions[:, :, None] * bands).repeat(1, 1, 2).flatten(1)
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate queries or keys.

    Args:
        x: (..., tokens, head_dim).
        cosines, sines: (tokens, head_dim) of `rotary_tables`.

    Returns:
        The rotated tensor, same shape.
    """
    first, second = x.reshape(*x.shape[:-1], 2, 2, x.shape[-1] // 4).unbind(-2)
    turned = torch.stack([-second, first], dim=-2).flatten(-3)
    return x * cosines + turned * sines


LEVELS = 2**16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with one random 16-bit number per value, where the library draws a floating one.

    On a CPU, the library's Bernoulli sampler draws a number for every value. Here one draw of the generator decides
    over four values. The rate is rounded to a multiple of 2 ** -16, and values that are kept are divided by
    the rounded probability, so that the mean stays exact. The generator is the default one: a seed gives the same
    masks again. On GPUs and in compiled graphs, whose kernels draw and apply masks in one go, it's the library's.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Drop values of a tensor of any shape; the same tensor in evaluation."""
        if not self.training or self.p in (0, 1) or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        kept = min(max(round((1 - self.p) * LEVELS), 1), LEVELS - 1)  # what 16 bits can tell from never and always
        words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        mask = words.view(torch.int16)[: x.numel()].view(x.shape) < kept - LEVELS // 2
        return x * mask.to(x.dtype).mul_(LEVELS / kept)


class Attention(nn.Module):
    """Multi-head self-attention with an optional LayerNorm on queries and keys (Henry et al. 2020).

    Args:
        width: token channels.
        heads: number of heads; divides `width`.
        qk_norm: normalise queries and keys per head, with one affine shared by the heads.
        dropout: after the output projection; attention weights are never dropped.

    Raises:
        ConfigError: the heads don't divide the width.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(
                "attention heads don't divide the width",
                expected=f"a multiple of {heads}",
                found=width,
                fix="set heads",
            )
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.q_norm: nn.Module = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.k_norm: nn.Module = nn.LayerNorm(width // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)
        self.proj_drop = Dropout(dropout)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Attend among the tokens of each sequence.

        Args:
            x: (batch, tokens, width).
            tables: cosines and sines (tokens, head_dim), or none for no position code.

        Returns:
            (batch, tokens, width).
        """
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = self.q_norm(q), self.k_norm(k)
        if tables is not None:
            q, k = rotate(q, *tables), rotate(k, *tables)
        # Under autocast the norms and tables are float32: back to the dtype of the values for the fused kernel.
        mixed = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        out: Tensor = self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))
        return out


class Mlp(nn.Module):
    """Two-layer perceptron with exact GELU; dropout after each layer."""

    def __init__(self, width: int, hidden: int, out: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, out)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., out)."""
        out: Tensor = self.drop(self.fc2(self.drop(F.gelu(self.fc1(x)))))
        return out


class LayerScale(nn.Module):
    """Adds a residual branch with a learned gain per channel (Touvron et al. 2021)."""

    def __init__(self, width: int, initial: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), initial))

    def forward(self, x: Tensor, branch: Tensor) -> Tensor:
        """Return `x + gamma * branch`, all (..., width)."""
        return torch.addcmul(x, self.gamma, branch)


class Block(nn.Module):
    """`x += g1 * attention(norm(x)); x += g2 * mlp(norm(x))`, biases everywhere, LayerNorm eps 1e-5."""

    def __init__(
        self, width: int, heads: int, *, mlp_ratio: int, qk_norm: bool, layer_scale: float, dropout: float
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads, qk_norm=qk_norm, dropout=dropout)
        self.ls1 = LayerScale(width, layer_scale)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio * width, width, dropout=dropout)
        self.ls2 = LayerScale(width, layer_scale)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """Transform (batch, tokens, width), same shape out; `tables` as in `Attention.forward`."""
        x = self.ls1(x, self.attn(self.norm1(x), tables))
        out: Tensor = self.ls2(x, self.mlp(self.norm2(x)))
        return out
