"""What a process tells its machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.skips import NO_LINUX

FAULTS = """
import resource, sys
import numpy as np
from configs.machine import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()
for step in range(12):
    if step == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**22)  # 32 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason=NO_LINUX)
def test_freed_memory_is_used_again() -> None:
    faults = {
        way: int(subprocess.run([sys.executable, "-c", FAULTS, way], capture_output=True, check=True).stdout)
        for way in ("keep", "give back")
    }
    assert 4 * faults["keep"] < faults["give back"], faults
