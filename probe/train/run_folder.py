"""The folder of a run: checkpoints of plain tensors and numbers under a digest; the log with one row per round."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from configs import commands
from configs.errors import CorruptionError, MissingError, StaleError, VersionError, version_fix
from configs.files import runs_path, write_atomic
from probe.metrics.scores import number

FORMAT = 2
_DIGITS = 64


def folder_of(root: str | None, run_id: str) -> Path:
    """Return the folder of a run."""
    return runs_path(root) / run_id


def save_checkpoint(path: Path, run_id: str, state: dict[str, Any]) -> None:
    """Write a checkpoint so that a reader finds the old one or the new one, never half of one.

    The file is a ZIP archive, as `torch.save` writes it, whose comment is the SHA-256 of all bytes before the comment.

    Args:
        path: the file.
        run_id: whose state it is.
        state: tensors, numbers, texts, lists and dicts.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "run_id": run_id, **state}, buffer)
    # An archive ends with the length of its comment, two bytes, and the comment.
    buffer.seek(-2, io.SEEK_END)
    buffer.write(_DIGITS.to_bytes(2, "little"))
    buffer.write(hashlib.sha256(buffer.getbuffer()).hexdigest().encode())
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getbuffer())


def load_checkpoint(path: Path, run_id: str, fix: str = "", sha256: str = "") -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU, once its bytes have turned out to be those that were written.

    Args:
        path: the file.
        run_id: whose state it must be.
        fix: the command that trains the run again; default the one that was just given.
        sha256: of the whole file, if known.

    Raises:
        MissingError: no checkpoint exists.
        CorruptionError: a byte of it has changed, or its digest is missing.
        StaleError: it belongs to another run, or another training of this one.
        VersionError: it was written by another version.
    """
    again = fix or f"delete {path.parent}; the same command then trains this run again"
    if not path.is_file():
        raise MissingError("no checkpoint", where=path, fix=fix or f"train the probe first: {commands.probe('train')}")
    data = path.read_bytes()
    total = hashlib.sha256(memoryview(data)[:-_DIGITS])
    if data[-_DIGITS:] != total.hexdigest().encode():
        raise CorruptionError(
            "not a readable checkpoint: its bytes are not those that were written",
            expected="the SHA-256 of the bytes before as the last 64 bytes",
            where=path,
            fix=again,
        )
    total.update(data[-_DIGITS:])
    if sha256 not in ("", total.hexdigest()):
        raise StaleError("not the weights that were scored", expected=f"SHA-256 {sha256}", where=path, fix=again)
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, LookupError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise CorruptionError(f"not a readable checkpoint: {error}", where=path, fix=again) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        version = state.get("format") if isinstance(state, dict) else type(state).__name__
        raise VersionError(
            "this checkpoint has another format", expected=f"format {FORMAT}", found=version, where=path,
            fix=version_fix(version, FORMAT, again),
        )  # fmt: skip
    if state.get("run_id") != run_id:
        raise StaleError(
            "this checkpoint belongs to another run", expected=run_id, found=state.get("run_id"), where=path, fix=again
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
        """Start from the rows of a checkpoint, whatever the files hold by now."""
        self.rows = [dict(row) for row in rows]
        self._write()

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row and write both files."""
        self.rows.append({k: number(v) if isinstance(v, float) else v for k, v in row.items()})
        self._write()

    def _write(self) -> None:
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
