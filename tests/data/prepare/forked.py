"""Processes to interrupt and kill: forked from a server that has imported what they need, once for all of them."""

from __future__ import annotations

import multiprocessing
import signal
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource

SMALL = {f"clip_{i:02d}": Shape(frames=81, query_only=True) for i in range(6)}
PLANS = ("paper-4",)
"""What `start` prepares."""
_PRELOAD = [
    "data.prepare.prepare",
    "data.dataset.reader",
    "data.dataset.queries",
    "pandas",
    "pyarrow.parquet",
    "zarr",
    "numcodecs",
    "PIL.Image",
]


def start(path: Path, workers: int) -> ForkServerProcess:
    """Prepare the small toy dataset, slowly, in a process of its own."""
    process = _context().Process(target=_run, args=(path, workers))
    process.start()
    return process


def finish(process: ForkServerProcess) -> None:
    """Wait for a process that nobody disturbs."""
    process.join(120)
    assert process.exitcode == 0


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    return context


def _run(path: Path, workers: int) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in background jobs
    prepare(ToySource(SMALL, delay=0.05), path, plans=PLANS, workers=workers)
