"""Cores, devices, packages and memory of this machine, found without importing torch where that is possible."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from pathlib import Path

from configs.errors import ConfigError

DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""One of these exists where Linux gives programs a GPU: NVIDIA's driver, Jetson, Windows' subsystem, AMD's driver."""


def without_gpu() -> bool:
    """Whether certainly no GPU is usable by torch; False where only torch can find out."""
    return sys.platform == "linux" and not any(Path(place).exists() for place in DRIVERS)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def visible_devices(choice: str) -> list[str]:
    """Return the torch devices that `device=` means: all visible GPUs for `auto` and `cuda`, else the one named.

    Raises:
        ConfigError: this machine has no such device, or the name is unknown.
    """
    if choice not in ("auto", "cpu", "cuda") and not re.fullmatch(r"cuda:\d+", choice):
        raise ConfigError(f"can't read device={choice}", expected="auto, cpu, cuda, or one GPU such as cuda:1")
    if without_gpu():
        count = 0
    else:
        import torch

        count = torch.cuda.device_count()
    if choice in ("auto", "cuda"):
        if count:
            return [f"cuda:{index}" for index in range(count)]
        if choice == "cuda":
            raise ConfigError("no GPU is visible to PyTorch", fix="device=cpu, or install a PyTorch build for your GPU")
        return ["cpu"]
    if choice.startswith("cuda:") and int(choice[5:]) >= count:
        raise ConfigError(
            f"no GPU {choice[5:]} is visible to PyTorch", expected=f"0 to {count - 1}" if count else "device=cpu"
        )
    return [choice]


def package_version(package: str) -> str | None:
    """Return the version of an installed distribution, None if it isn't there."""
    from importlib.metadata import PackageNotFoundError, version  # loads much that most commands don't need

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def keep_freed_memory() -> bool:
    """Let this process keep up to 2 GiB of freed memory for later allocations; returns whether that worked.

    glibc gives large blocks back to the system as soon as they are freed. The maps of the next training step then come
    page by page, each cleared by the kernel. Other C libraries and allocators are left as they are.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold = -1, -3  # names of malloc.h
    # Versions of glibc before 2.35 take no more than 32 MiB.
    larger = any(mallopt(mmap_threshold, size) for size in (2**30, 2**25))
    return larger and bool(mallopt(trim_threshold, 2**31 - 1))
