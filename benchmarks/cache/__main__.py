"""`python -m benchmarks.cache [folder=/path] [kills=50]`: measure the store's targets and print pass or fail.

Everything is compared with raw system calls on the same bytes in the same run, in turns, so that the ratios hold on
loaded machines too. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks import command
from benchmarks.cache import reading, whole, writing
from benchmarks.cache.measure import Target
from configs.console import print_table
from configs.options import option

MEMORY = "/dev/shm"


@dataclass(frozen=True)
class Options:
    """What is measured, and where."""

    folder: str | None = option(None, "folder to measure in, with 2 GB of free space; default: a temporary one")
    kills: int = option(50, "writers to kill", minimum=1)


def run(folder: Path, kills: int) -> list[Target]:
    """Measure all targets below a folder with 2 GB of free space."""
    store = reading.build(folder / "store")
    targets = reading.warm(store)
    targets += reading.cold(store)
    targets += reading.economy(store)
    targets += reading.others(store)
    targets += reading.loading(store)
    targets += writing.durable(folder / "durable")
    targets += writing.memory(folder)
    targets += writing.commit(folder / "commit")
    with tempfile.TemporaryDirectory(dir=MEMORY if os.access(MEMORY, os.W_OK) else folder) as fast:
        targets += whole.kills(Path(fast) / "kills", kills)
        targets += whole.scans(Path(fast) / "scan")
    targets += whole.same_bits(folder / "bits")
    if not torch.cuda.is_available():
        targets.append(
            Target("-", "pinned ring and asynchronous copies to a GPU", "not measured: no CUDA device", "", None)
        )
    return sorted(targets, key=lambda target: int(target.number) if target.number.isdecimal() else 99)


def main(options: Options) -> int:
    """Run, print, and clean up."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-cache-") as place:
        folder = Path(place)
        disk = shutil.disk_usage(folder)
        targets = run(folder, options.kills)
        rows = [
            [t.number, t.what, t.measured, t.wanted, {True: "pass", False: "FAIL", None: ""}[t.holds]] for t in targets
        ]
        notes = [
            f"{platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}",
            f"{folder}: {disk.free / 1e9:.0f} GB free; kind of disk not known here, cold figures are this disk's alone",
            "targets 15 and 16 (object storage, int8) are not part of this version",
        ]
        print_table("Feature store", ["target", "what", "measured", "wanted", ""], rows, notes=notes)
    return 1 if any(target.holds is False for target in targets) else 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
