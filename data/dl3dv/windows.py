"""Which frames of a scene become clips."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A run of consecutive frames: place of the first in the sorted list, and how many."""

    start: int
    length: int


def paper_start(scene: str, frames: int, window: int) -> int:
    """Return where the published protocol's window starts: the same in every run, for every importer.

    The MD5 of the scene's hash seeds a legacy generator. Its upper bound is exclusive, so the last possible start is
    never drawn (published protocol, DL3DV preprocessing).

    Args:
        scene: the hash that names the scene's folder.
        frames: images of the scene.
        window: length of the window; 150 in the paper.
    """
    if frames <= window:
        return 0
    seed = int(hashlib.md5(scene.encode(), usedforsecurity=False).hexdigest()[:8], 16)
    return int(np.random.RandomState(seed).randint(0, frames - window))


def windows(rule: str, scene: str, frames: int, window: int) -> list[Window]:
    """Return the windows of a scene.

    Args:
        rule: `paper`, one window at the published place; `first`, one at the beginning; `all`, as many as fit side by
            side, or the whole scene if it is shorter.
        scene: its hash.
        frames: images of the scene, at least 1.
        window: positions per clip.
    """
    length = min(frames, window)
    if rule == "all":
        return [Window(k * window, length) for k in range(max(1, frames // window))]
    return [Window(paper_start(scene, frames, window) if rule == "paper" else 0, length)]
