"""Which device and precision a configuration means, and what memory is free there.

Torch is loaded only where a GPU is possible.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import ConfigError
from configs.machine import without_gpu

if TYPE_CHECKING:
    import torch


def resolve_device(name: str) -> torch.device:
    """Return the device that a name means; `auto` takes a GPU if there is one.

    Raises:
        ConfigError: the device doesn't exist.
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
        ConfigError: the device doesn't exist.
    """
    if precision != "auto":
        return precision
    if device == "cpu" or (device == "auto" and without_gpu()):
        return "float32"
    import torch

    native = resolve_device(device).type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16-mixed" if native else "float32"


SHARE = 0.5
"""Of the free memory; the rest is for activations, ground truth and everybody else."""


GIB = 1 << 30


def free_memory(device: torch.device) -> int:
    """Return the bytes that are free where probes train: on the device, and on the machine that reads for it."""
    import torch

    free = _free_on_host()
    return min(free, int(torch.cuda.mem_get_info(device)[0])) if device.type == "cuda" else free


def _free_on_host() -> int:
    """Return the smaller of what the kernel calls available and what the control group leaves."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        return 4 * GIB
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text(encoding="ascii").strip() for name in ("memory.max", "memory.current"))
        return free if limit == "max" else min(free, int(limit) - int(used))
    except (OSError, ValueError):  # no control groups, or of the first version
        return free
