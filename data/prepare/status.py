"""What became of every clip of a run: one row each, as a table in memory, in `status.parquet` and on the terminal."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from configs.console import print_table
from configs.files import write_atomic
from data.dataset.tables import parquet_bytes

STATUSES = ("made", "kept", "failed", "refused")
SHOWN = 20
_NUMBERS = re.compile(r"\d+(, \d+)*(, \.\.\.)?")
"""Numbers and lists of frames: what differs between warnings of one kind."""


@dataclasses.dataclass(frozen=True)
class Status:
    """What became of one clip.

    Attributes:
        clip: its id.
        status: "made" now, "kept" from an earlier run, "failed" (its raw data can't be used) or "refused" (a stated
            rule makes no clip of it).
        reason: why it failed or was refused, else "".
        seconds: time spent on it in this run.
        bytes: size of its folder on disk, 0 where there is none.
        warnings: what is odd about a clip that was made now, one sentence each.
    """

    clip: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    bytes: int = 0
    warnings: tuple[str, ...] = ()


def write_statuses(path: Path, statuses: Sequence[Status]) -> None:
    """Write the table as Parquet: clip, status, reason, seconds, bytes, warnings."""
    import pandas as pd

    columns = [field.name for field in dataclasses.fields(Status)]
    write_atomic(path, parquet_bytes(pd.DataFrame([dataclasses.asdict(s) for s in statuses], columns=columns)))


def print_statuses(statuses: Sequence[Status]) -> None:
    """Print what is odd about the clips made now, and the clips that are not there and why; nothing if all is well."""
    _print_warnings(statuses)
    bad = [s for s in statuses if s.status in ("failed", "refused")]
    if not bad:
        return
    rows = [[s.clip, s.status, s.reason.splitlines()[0] if s.reason else ""] for s in bad[:SHOWN]]
    counts = Counter(s.status for s in statuses)
    notes = [", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])]
    if len(bad) > SHOWN:
        notes.insert(0, f"... and {len(bad) - SHOWN} more")
    print_table("Clips that are not in the dataset", ["clip", "status", "reason"], rows, notes=notes)


def _print_warnings(statuses: Sequence[Status]) -> None:
    """Print each kind of warning once, with the number of clips that have it and one of them as an example."""
    kinds: dict[str, list[list[object]]] = {}
    for status in statuses:
        for text in dict.fromkeys(status.warnings):
            kinds.setdefault(_NUMBERS.sub("#", text), []).append([status.clip, text])
    if not kinds:
        return
    rows = [[len(found), *found[0]] for found in sorted(kinds.values(), key=len, reverse=True)]
    notes = [f"... and {len(rows) - SHOWN} more kinds"] if len(rows) > SHOWN else []
    print_table("Warnings", ["clips", "for example", "warning"], rows[:SHOWN], notes=notes)
