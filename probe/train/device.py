"""Which device and precision a configuration means; torch is loaded only where a GPU is possible."""

from __future__ import annotations

from typing import TYPE_CHECKING

from configs.errors import ConfigError
from configs.machine import without_gpu

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """Return the device that a name means; `auto` takes a GPU if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"unknown device {name!r}", expected="auto, cpu, cuda or cuda:<number>") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(
            f"probes don't train on {name}", expected="auto, cpu, cuda or cuda:<number>", fix="device=cpu"
        )
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise ConfigError(f"there is no device {name}", found=f"{torch.cuda.device_count()} GPUs", fix="device=cpu")
    return device


def resolve_precision(precision: str, device: str) -> str:
    """Return `bf16-mixed` or `float32`; `auto` takes bfloat16 where the hardware computes in it.

    Args:
        precision: of the recipe.
        device: its name, as in the configuration.

    Raises:
        ConfigError: there is no such device.
    """
    if precision != "auto":
        return precision
    if device == "cpu" or (device == "auto" and without_gpu()):
        return "float32"
    import torch

    native = resolve_device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "float32"
