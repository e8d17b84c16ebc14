"""What is known while a job runs and after it: rates, busy share, a summary, and one row per clip in a log."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from configs.console import Progress, format_bytes, get_logger, progress
from configs.files import atomic_file
from configs.paths import logs_path
from extract.job.runner import Record

WORTH_TELLING = 20.0
"""Seconds; what is over sooner needs no forecast."""
FIRST_CLIPS = 4
"""Clips after which the time left is told; the first one, which waits for weights, tells nothing of the rest."""


class FirstEstimate:
    """Says once, after the first clips, how long the rest will take; batch jobs have no bar that would show it."""

    def __init__(self, total: int) -> None:
        self._total, self._first, self._began, self._told = total, 0, 0.0, False

    def count(self, done: int) -> None:
        """Take note that `done` clips are finished so far."""
        now = time.perf_counter()
        if done and not self._first:
            self._first, self._began = done, now
        if self._told or not self._first or done - self._first < FIRST_CLIPS - 1:
            return
        self._told = True
        if done < self._total:
            seconds = (now - self._began) / (done - self._first)
            left = seconds * (self._total - done)
            if left >= WORTH_TELLING:
                get_logger("extract").info(
                    "%d of %d clips done, %.2f s each; about %s left", done, self._total, seconds, format_seconds(left)
                )


def format_seconds(seconds: float) -> str:
    """Return a duration as a person reads it, for example `45 s`, `12 min` or `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


class Tracker:
    """Collects the records of one process; shows a bar where standard error is a terminal."""

    def __init__(self, total: int, label: str) -> None:
        self.records: list[Record] = []
        self.started = time.perf_counter()
        self._lock = threading.Lock()
        self._estimate = FirstEstimate(total)
        self._context = progress(total, label)
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._bar = self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._context.__exit__(kind, error, trace)

    def add(self, record: Record) -> None:
        """Take note of one clip; called from several threads."""
        with self._lock:
            self.records.append(record)
            if self._bar is not None:
                self._bar.note(rates(self.records, time.perf_counter() - self.started))
                self._bar.advance()
            self._estimate.count(len(self.records))


def rates(records: list[Record], seconds: float, processes: int = 1) -> str:
    """Return clips, frames and bytes per second and the share of the time that the devices were busy."""
    done = [record for record in records if record.status == "done"]
    seconds = max(seconds, 1e-9)
    busy = sum(record.device_seconds for record in done) / seconds / processes
    written = sum(record.bytes for record in done)
    return (
        f"{len(done) / seconds:.2f} clips/s, {sum(r.frames for r in done) / seconds:.0f} frames/s, "
        f"{format_bytes(written / seconds)}/s, device busy {busy:.0%}"
    )


def save_log(records: list[Record], root: str | None, name: str, parameters: int) -> Path | None:
    """Write extract_log.parquet of one run: a row per clip with stage timings and the size of the loaded network.

    Returns:
        Where it is; None if nothing was done.
    """
    if not records:
        return None
    import pandas as pd

    path = logs_path(root) / "extract" / name / "extract_log.parquet"
    table = pd.DataFrame([dataclasses.asdict(record) for record in records]).assign(parameters=parameters)
    with atomic_file(path) as temporary:
        table.to_parquet(temporary, index=False)
    return path
