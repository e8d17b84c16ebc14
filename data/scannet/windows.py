"""Which frames of a scan become clips of 81 positions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

POSITIONS = 81
"""Positions of a clip, as video models expect them."""
MIDDLE_SHARE = 0.5
"""The published rule takes the middle half of a scan: denser frames give more objects that several views share."""
SHORTEST_MIDDLE = 60
"""Where the middle half has fewer frames, the whole scan is taken."""
RULES = ("paper", "all")


@dataclass(frozen=True)
class Window:
    """A run of frames of a scan, [first, first + length)."""

    first: int
    length: int

    def frames(self) -> NDArray[np.int64]:
        """Return the frame at each of the 81 positions, evenly spread; runs shorter than that repeat frames."""
        return self.first + np.round(np.linspace(0, self.length - 1, POSITIONS)).astype(np.int64)


def paper_window(count: int) -> Window:
    """Return the published window of a scan of `count` frames: its middle half, or all if that has under 60 frames."""
    length = round(MIDDLE_SHARE * count)
    if length < SHORTEST_MIDDLE:
        return Window(0, count)
    return Window((count - length) // 2, length)


def all_windows(count: int, window: int) -> list[Window]:
    """Return windows that share a scan out without gap or overlap, each of about `window` frames and at least that.

    Args:
        count: frames of the scan.
        window: frames that a window should have; a shorter scan is one window.
    """
    pieces = max(1, count // window)
    edges = np.round(np.linspace(0, count, pieces + 1)).astype(int).tolist()
    return [Window(first, last - first) for first, last in pairwise(edges)]
