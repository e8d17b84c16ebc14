"""Price of hashing weights: `python -m benchmarks.weights [megabytes=1000 files=4 repeats=5 folder=...]`.

Writes files of that size in all and hashes them as an extraction does before it trusts them: anew, and remembered. The
baselines are reading the same files into one buffer, and SHA-256 of bytes that are in memory already, in one thread.
Files are in the page cache; where they aren't, the disk decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import command
from configs.console import print_table
from configs.machine import available_cores
from configs.options import option
from extract.weights import hashes
from extract.weights.hashes import MEGABYTE, PIECE, file_hashes


@dataclasses.dataclass(frozen=True)
class Options:
    """What to write and how often to measure."""

    megabytes: int = option(1000, "bytes of all files, in millions", minimum=16)
    files: int = option(4, "files; each is hashed by one thread", minimum=1)
    repeats: int = option(5, "measurements, of which the median counts", minimum=1)
    folder: str | None = option(None, "where to write the files; default the folder for temporary files")


def seconds(action: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def read(files: list[Path]) -> None:
    """Read files one after the other into one buffer."""
    buffer = bytearray(PIECE)
    for file in files:
        with file.open("rb", buffering=0) as handle:
            while handle.readinto(buffer):
                pass


def main(options: Options) -> int:
    """Measure and print."""
    hashes.LARGE = sys.maxsize  # no notes between the figures
    piece = os.urandom(PIECE)
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        files = [Path(name) / f"{number}.safetensors" for number in range(options.files)]
        for file in files:
            file.write_bytes(piece * -(-options.megabytes * MEGABYTE // options.files // PIECE))
        size = sum(file.stat().st_size for file in files)
        time.sleep(hashes.SETTLED_S)  # younger files are not remembered
        memory = Path(name) / "memory"
        times: dict[str, list[float]] = {}
        for _ in range(options.repeats):
            pieces = range(size // PIECE)
            for what, action in {
                "SHA-256 of bytes in memory": lambda: [hashlib.sha256(piece) for _ in pieces],  # noqa: B023
                "reading the files": lambda: read(files),
                "hashing them anew": lambda: file_hashes(files, None),
                "hashing and remembering": lambda: file_hashes(files, memory),
                "remembered": lambda: file_hashes(files, memory),
            }.items():
                times.setdefault(what, []).append(seconds(action))
            for record in memory.iterdir():
                record.unlink()
    base = times["SHA-256 of bytes in memory"]
    print_table(
        f"{size / 1e9:.2f} GB in {options.files} files, {available_cores()} cores, "
        f"load average {os.getloadavg()[0]:.1f}",
        ["what", "seconds", "GB/s", "time over SHA-256 in memory"],
        [
            [what, median(own), size / 1e9 / median(own), median(a / b for a, b in zip(own, base, strict=True))]
            for what, own in times.items()
        ],
    )
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main, Options, __doc__, sys.argv[1:]))
