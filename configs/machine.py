"""What can be told of a machine without importing torch, which takes longer than many a command."""

from __future__ import annotations

import sys
from pathlib import Path

DRIVERS = ("/proc/driver/nvidia", "/dev/nvidiactl", "/dev/nvmap", "/dev/dxg", "/dev/kfd")
"""Any of these is there where Linux gives programs a GPU: NVIDIA's driver, Jetson, Windows' subsystem, AMD's driver."""


def without_gpu() -> bool:
    """Whether it is certain that there is no GPU that torch could use; False where torch has to be asked."""
    return sys.platform == "linux" and not any(Path(place).exists() for place in DRIVERS)
