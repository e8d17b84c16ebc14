"""Dropout whose masks are cheap on CPUs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEVELS = 2**16


class Dropout(nn.Dropout):
    """`torch.nn.Dropout` with one random 16-bit number per value, where the library draws a floating one.

    The library's Bernoulli sampler takes about a sixth of a training step on a CPU. Here one draw of the generator
    decides over four values. The rate is rounded to a multiple of 2 ** -16, and values that are kept are divided by
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
