"""What a person sees while a command runs: progress bars, tables and a log file.

Bars are drawn on standard error and only when it is a terminal; everything else goes to the log file as one JSON
object per line, so that nothing is lost in a batch job and nothing clutters it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
def logging_to(path: Path | None, *, quiet: bool = False) -> Iterator[None]:
    """Send log records to `path` as JSON lines, and warnings (with `quiet=False` also notes) to the terminal.

    A log file that can't be opened is reported once on the terminal and never stops the work.
    """
    logger = get_logger()
    before = (logger.level, logger.propagate, list(logger.handlers))
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    console = _Console(logging.WARNING if quiet else logging.INFO)
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


class Progress:
    """A bar with count, rate and time left. `advance` moves it, `note` shows a short text beside it."""

    def __init__(self, total: int | None, description: str, unit: str) -> None:
        from tqdm import tqdm

        self._bar = tqdm(
            total=total,
            desc=description,
            unit=f" {unit}",
            file=sys.stderr,
            disable=None,
            dynamic_ncols=True,
            leave=True,
        )

    def advance(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        self._bar.update(count)

    def note(self, text: str) -> None:
        """Show `text` behind the bar."""
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


@contextmanager
def progress(total: int | None, description: str, unit: str = "clips") -> Iterator[Progress]:
    """Show a progress bar on standard error while the block runs; silent when that is not a terminal."""
    bar = Progress(total, description, unit)
    try:
        yield bar
    finally:
        bar.close()


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
