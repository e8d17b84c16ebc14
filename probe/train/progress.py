"""How far the probes of a command are: a bar on a terminal, a note now and then in a log."""

from __future__ import annotations

import sys
import time

from configs.console import Progress, get_logger

NOTE_EVERY = 20.0
"""Seconds between notes where no bar can be drawn."""

log = get_logger("probe.train.train")


class StepBar:
    """Counts updates of probes, all passes of a command together; a context manager.

    Args:
        total: updates of all probes.
        title: what is trained.
        unit: what is counted.
        quiet: show nothing.
    """

    def __init__(self, total: int, title: str, unit: str = "steps", *, quiet: bool = False) -> None:
        self.total, self.title, self.unit, self.quiet = total, title, unit, quiet
        self.done = self.skipped = 0
        self.started = self.noted = time.monotonic()

    def __enter__(self) -> StepBar:
        self._bar = None if self.quiet else Progress(self.total, self.title, self.unit)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.__exit__(*exception)

    def skip(self, count: int) -> None:
        """Count updates that an earlier command has made."""
        self.skipped += count
        self.advance(count)

    def advance(self, count: int) -> None:
        """Count updates."""
        self.done += count
        if self._bar is None:
            return
        self._bar.advance(count)
        now = time.monotonic()
        if not sys.stderr.isatty() and now - self.noted > NOTE_EVERY:
            self.noted = now
            log.info("%s", self.state())

    def retract(self, count: int) -> None:
        """Take back updates of a pass that failed."""
        self.done -= count
        if self._bar is not None:
            self._bar.advance(-count)

    def note(self, text: str) -> None:
        """Show `text` after the bar."""
        if self._bar is not None:
            self._bar.note(text)

    def state(self) -> str:
        """Return how far everything is and how long the rest will take at the pace so far."""
        made = self.done - self.skipped
        text = f"{self.title}: {self.done} of {self.total} {self.unit}"
        if not made:
            return text
        left = (self.total - self.done) * (time.monotonic() - self.started) / made
        return f"{text}, about {round(left)} s left" if left < 120 else f"{text}, about {round(left / 60)} min left"
