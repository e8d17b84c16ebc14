"""Paired measurements: variants take turns sample by sample, and only ratios of medians are compared."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence

Work = Callable[[int], object]
"""Does the work of sample i."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One line of the result table; `holds` is None where this machine can't tell."""

    number: str
    what: str
    measured: str
    wanted: str
    holds: bool | None


def take_turns(works: Sequence[Work], samples: int, rounds: int, before: Work = lambda i: None) -> list[list[float]]:
    """Return per work the median seconds of each round; the order of the works rotates with every sample."""
    medians: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        times: list[list[float]] = [[] for _ in works]
        for sample in range(samples):
            for turn in range(len(works)):
                index = (turn + sample + number) % len(works)
                before(sample)
                start = time.perf_counter()
                works[index](sample)
                times[index].append(time.perf_counter() - start)
        for index, found in enumerate(times):
            medians[index].append(statistics.median(found))
    return medians


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> float:
    """Return the median over rounds of the paired ratios."""
    return statistics.median(a / b for a, b in zip(numerator, denominator, strict=True))
