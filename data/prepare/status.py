"""What became of every clip of a run: one row each, as a table in memory, in `status.parquet` and on the terminal."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from configs.console import print_table
from configs.files import write_atomic
from data.dataset.tables import parquet_bytes

STATUSES = ("made", "kept", "failed", "refused")
SHOWN = 20


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
    """

    clip: str
    status: str
    reason: str = ""
    seconds: float = 0.0
    bytes: int = 0


def write_statuses(path: Path, statuses: Sequence[Status]) -> None:
    """Write the table as Parquet: clip, status, reason, seconds, bytes."""
    import pandas as pd

    columns = [field.name for field in dataclasses.fields(Status)]
    write_atomic(path, parquet_bytes(pd.DataFrame([dataclasses.asdict(s) for s in statuses], columns=columns)))


def print_statuses(statuses: Sequence[Status]) -> None:
    """Print the clips that are not there and why; nothing if all are."""
    bad = [s for s in statuses if s.status in ("failed", "refused")]
    if not bad:
        return
    rows = [[s.clip, s.status, s.reason.splitlines()[0] if s.reason else ""] for s in bad[:SHOWN]]
    counts = Counter(s.status for s in statuses)
    notes = [", ".join(f"{counts[name]} {name}" for name in STATUSES if counts[name])]
    if len(bad) > SHOWN:
        notes.insert(0, f"... and {len(bad) - SHOWN} more")
    print_table("Clips that are not in the dataset", ["clip", "status", "reason"], rows, notes=notes)
