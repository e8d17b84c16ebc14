"""What is known while a job runs and after it: rates, busy share, a summary, and one row per clip in a log."""

from __future__ import annotations

import dataclasses
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from cache.forecast import format_bytes
from configs.console import Progress, progress
from configs.paths import logs_path
from extract.runner import Record


class Tracker:
    """Collects the records of one process; shows a bar where standard error is a terminal."""

    def __init__(self, total: int, label: str) -> None:
        self.records: list[Record] = []
        self.started = time.perf_counter()
        self._lock = threading.Lock()
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


def save_log(records: list[Record], root: str | None, name: str) -> Path | None:
    """Write extract_log.parquet of one run, a row per clip with stage timings; None if nothing was done."""
    if not records:
        return None
    import pandas as pd

    path = logs_path(root) / "extract" / name / "extract_log.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([dataclasses.asdict(record) for record in records]).to_parquet(path, index=False)
    return path
