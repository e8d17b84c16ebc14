"""Runs one function over many items in processes that die with their parent."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import TypeVar

Result = TypeVar("Result")


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    function: Callable[[str], Result], items: Sequence[str], workers: int = 0
) -> Iterator[tuple[str, Result | BaseException]]:
    """Yield (item, result or exception) as items finish.

    Args:
        function: picklable; called once per item.
        items: what to work on.
        workers: processes; 0 means one per available core, 1 works in this process.

    An interrupt stops handing out items; those under way are abandoned, which must be safe for `function`.
    """
    count = min(workers or available_cores(), max(1, len(items)))
    if count == 1:
        for item in items:
            yield item, _caught(function, item)
        return
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_die_with_parent)
    try:
        todo = iter(items)
        running: dict[Future[Result], str] = {}
        for item in todo:
            running[pool.submit(function, item)] = item
            if len(running) < 2 * count:
                continue
            yield from _collect(running)
        while running:
            yield from _collect(running)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _collect(running: dict[Future[Result], str]) -> Iterator[tuple[str, Result | BaseException]]:
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        error = future.exception()
        yield running.pop(future), future.result() if error is None else error


def _caught(function: Callable[[str], Result], item: str) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:
        return error


def _die_with_parent() -> None:
    """Without this, workers of a killed parent would wait for work forever."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
