"""Checkpoints of single runs: plain tensors and numbers, written atomically, read with `weights_only=True`."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from configs.errors import CorruptionError, MissingError, StaleError
from configs.files import write_atomic

FORMAT = 1


def save(path: Path, run_id: str, state: dict[str, Any]) -> None:
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


def load(path: Path, run_id: str) -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU.

    Raises:
        MissingError: there is none.
        CorruptionError: it can't be read.
        StaleError: it belongs to another run, or was written by another version.
    """
    if not path.is_file():
        raise MissingError("no checkpoint", where=path, fix="train the probe first: python -m probe train ...")
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
