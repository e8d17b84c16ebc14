"""What can and what cannot be concluded, in sentences made from the statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from probe.report.boards import Board
from probe.report.contract import Statement
from probe.report.families import Comparison


@dataclass(frozen=True)
class Told:
    boards: Sequence[Board]
    comparisons: Sequence[Comparison]
    gaps: tuple[str, ...]
    kinds: Mapping[str, str]
    resamples: int
    tables: Mapping[str, Any]


def statements(told: Told) -> tuple[Statement, ...]:
    return tuple(Statement("gap", text) for text in told.gaps)
