"""Running a verb of `spatialprobe extract` in this process."""

from __future__ import annotations

from configs.cli import main
from extract.__main__ import VERBS


def call(*words: str) -> int:
    return main("extract", "about", VERBS, words)
