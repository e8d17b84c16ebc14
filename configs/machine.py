"""What a process can ask or tell its machine without importing torch, which takes longer than many a command."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""Any of these is there where Linux gives programs a GPU: NVIDIA's driver, Jetson, Windows' subsystem, AMD's driver."""


def without_gpu() -> bool:
    """Whether it is certain that there is no GPU that torch could use; False where torch has to be asked."""
    return sys.platform == "linux" and not any(Path(place).exists() for place in DRIVERS)


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, up to 2 GiB, for what it allocates next; returns whether it could be told.

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
