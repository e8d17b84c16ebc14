"""Gradients that a backward pass must have left."""

from __future__ import annotations

from torch import Tensor


def gradient(tensor: Tensor) -> Tensor:
    """Return the gradient of a leaf; it must have one."""
    assert tensor.grad is not None
    return tensor.grad
