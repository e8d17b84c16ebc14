"""Pre-norm transformer block with QK-norm, rotary positions and LayerScale, on `scaled_dot_product_attention`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import ConfigError
from probe.net.dropout import Dropout
from probe.net.rope import rotate


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
