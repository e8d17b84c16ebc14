"""How long the rest of a job will take."""

from __future__ import annotations

import time

from configs.console import get_logger

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
