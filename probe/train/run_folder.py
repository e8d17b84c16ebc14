"""The folder of a run: checkpoints as plain tensors and numbers, and the log with one row per round."""

from __future__ import annotations

import csv
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from configs import commands
from configs.errors import CorruptionError, MissingError, StaleError
from configs.files import runs_path, write_atomic
from probe.metrics.scores import number

FORMAT = 1


def folder_of(root: str | None, run_id: str) -> Path:
    """Return the folder of a run."""
    return runs_path(root) / run_id


def save_checkpoint(path: Path, run_id: str, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader finds the old one or the new one, never half of one.

    Args:
        path: the file.
        run_id: whose state it is.
        state: tensors, numbers, texts, lists and dicts.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run_id": run_id, **state}, buffer)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path, run_id: str) -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU.

    Raises:
        MissingError: no checkpoint exists.
        CorruptionError: it can't be read.
        StaleError: it belongs to another run, or was written by another version.
    """
    if not path.is_file():
        raise MissingError("no checkpoint", where=path, fix=f"train the probe first: {commands.probe('train')}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, LookupError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CorruptionError(
            f"not a readable checkpoint: {error}", where=path, fix=f"delete {path.parent} and train again"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or state.get("run_id") != run_id:
        found = state.get("run_id") if isinstance(state, dict) else type(state).__name__
        raise StaleError(
            "this checkpoint belongs to another run",
            expected=run_id,
            found=found,
            where=path,
            fix=f"delete {path.parent} and train again",
        )
    return state


class RunLog:
    """Rows of a run; numbers that are not finite become empty.

    Args:
        folder: the run's folder; `log.jsonl` and `log.csv` appear there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: list[Row] = []

    def restore(self, rows: Sequence[Row]) -> None:
        """Start from the rows of a checkpoint."""
        self.rows = [dict(row) for row in rows]

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and write both files."""
        self.rows.append({k: number(v) if isinstance(v, float) else v for k, v in row.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in self.rows)
        write_atomic(self.folder / "log.jsonl", lines.encode())
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomic(self.folder / "log.csv", text.getvalue().encode())


Row = dict[str, Any]
