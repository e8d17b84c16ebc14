"""Console output of a running command: progress bars, the time left, tables, sizes, and a log file.

Bars are drawn on standard error and only when it is a terminal; everything else goes to the log file as one JSON
object per line, so that nothing is lost in a batch job and nothing clutters it.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

LOGGER_NAME = "spatialprobe"


def get_logger(name: str = "") -> logging.Logger:
    """Return the project's logger, or a child of it."""
    return logging.getLogger(f"{LOGGER_NAME}.{name}" if name else LOGGER_NAME)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(record.created)),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        entry.update(getattr(record, "fields", {}))
        return json.dumps(entry, default=str)


class _Console(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(record.getMessage(), file=sys.stderr)


@contextmanager
def logging_to(path: Path | None) -> Iterator[None]:
    """Send log records to `path` as JSON lines, and notes and warnings to the terminal.

    A log file that can't be opened is reported once on the terminal and never stops the work.
    """
    logger = get_logger()
    before = (logger.level, logger.propagate, list(logger.handlers))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    console = _Console(logging.INFO)
    handlers: list[logging.Handler] = [console]
    if path is not None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = logging.FileHandler(path, encoding="utf-8", delay=False)
            file.setFormatter(_JsonLines())
            handlers.append(file)
        except OSError as error:
            print(f"note: no log file ({error})", file=sys.stderr)
    logger.handlers = handlers
    try:
        yield
    finally:
        for handler in handlers:
            handler.close()
        logger.level, logger.propagate, logger.handlers = before


class Pace:
    """How much of some work is done, and how long the rest takes at the pace so far.

    Args:
        total: units of work.
        unit: their name in the plural.
        warmup: units too unusual for an estimate: the first clip waits for weights, for example.
    """

    def __init__(self, total: int, unit: str = "clips", *, warmup: int = 0) -> None:
        self.total, self.unit, self.done = total, unit, 0
        self._warmup, self._before, self._began = warmup, 0, time.monotonic()

    def count(self, units: int = 1) -> None:
        """Count units as done; a negative number takes units back."""
        warm = self.done - self._before >= self._warmup
        self.done += units
        if not warm and self.done - self._before >= self._warmup:
            self._warmup, self._before, self._began = 0, self.done, time.monotonic()

    def skip(self, units: int) -> None:
        """Count units that took no time, since an earlier command has done them."""
        self.done += units
        self._before += units

    @property
    def measured(self) -> int:
        """Units whose time is known."""
        return 0 if self._warmup else self.done - self._before

    def left(self) -> float | None:
        """Return the seconds that the rest takes, None before anything has been measured."""
        if self.measured < 1:
            return None
        return (time.monotonic() - self._began) / self.measured * max(0, self.total - self.done)

    def __str__(self) -> str:
        left = self.left()
        text = f"{self.done} of {self.total} {self.unit} done"
        return text if left is None else f"{text}, about {format_seconds(left)} left"


EARLY_UNITS, EARLY_LEFT_S = 3, 20.0
"""A log gets a first estimate after so many units past the warm-up, if the rest takes at least so long."""


class Progress:
    """A bar with count, rate and time left on standard error; where that is not a terminal, notes in a log.

    A context manager; its methods may be called from several threads.

    Args:
        total: units of work, None if unknown.
        description: what is done, for the bar and the log.
        unit: what is counted, in the plural.
        log: gets `<description>: 12 of 40 clips done, about 3 min left` now and then if no bar is drawn.
        every: seconds between two such notes.
        warmup: see `Pace`; if it is given, the first note comes soon after it.
        quiet: show nothing, only count.
    """

    def __init__(
        self,
        total: int | None,
        description: str,
        unit: str = "clips",
        *,
        log: logging.Logger | None = None,
        every: float = 30.0,
        warmup: int = 0,
        quiet: bool = False,
    ) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=description,
            unit=f" {unit}",
            file=sys.stderr,
            disable=quiet or None,
            dynamic_ncols=True,
            leave=True,
        )
        self.pace = Pace(total or 0, unit, warmup=warmup)
        self._description, self._every, self._early = description, every, warmup > 0
        self._log = log if total is not None and self._bar.disable and not quiet else None
        self._noted = time.monotonic()
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()  # which leaves it as it stands

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done; a negative number takes units back."""
        with self._lock:
            self._bar.update(count)
            self.pace.count(count)
            self._tell()

    def skip(self, count: int) -> None:
        """Count units that an earlier command has done; they don't change the estimate."""
        with self._lock:
            self._bar.update(count)
            self.pace.skip(count)

    def note(self, text: str) -> None:
        """Show `text` after the bar."""
        with self._lock:
            self._bar.set_postfix_str(text, refresh=False)

    def _tell(self) -> None:
        left = self.pace.left()
        if self._log is None or not left:
            return
        now = time.monotonic()
        early = self._early and self.pace.measured >= EARLY_UNITS
        if now - self._noted >= self._every or (early and left >= EARLY_LEFT_S):
            self._noted = now
            self._log.info("%s: %s", self._description, str(self.pace))
        self._early = self._early and not early


def format_seconds(seconds: float) -> str:
    """Return a duration in readable form, for example `45 s`, `12 min` or `3 h 05 min`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def format_bytes(count: float) -> str:
    """Return a number of bytes in readable form, in powers of 1000: `4.4 kB`, `12 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, notes: Sequence[str] = ()
) -> None:
    """Print a plain table to standard output; numbers are aligned right. Readable when piped into a file."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max([len(name)] + [len(row[i]) for row in cells]) for i, name in enumerate(columns)]
    right = [
        bool(rows) and all(isinstance(row[i], (int, float, type(None))) for row in rows) for i in range(len(columns))
    ]

    def line(values: Sequence[str]) -> str:
        return "  ".join(
            v.rjust(w) if r else v.ljust(w) for v, w, r in zip(values, widths, right, strict=True)
        ).rstrip()

    print(title)
    print(line(list(columns)))
    print(line(["-" * width for width in widths]))
    for row in cells:
        print(line(row))
    for note in notes:
        print(note)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
