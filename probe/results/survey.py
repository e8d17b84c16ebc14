"""All finished runs below an artifact root: which are whole, what is wrong with the others, and their table.

A results file is checked whenever it is read. Of the other files of a run, the size, time of last change and inode are
remembered once their digests have been compared: only what has changed since is read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from configs.errors import CorruptionError, SpatialprobeError
from configs.files import read_regular, results_path, runs_path, sha256_bytes, sha256_file, write_atomic
from configs.identity import digest
from data.dataset.tables import parquet_bytes
from probe.results import results
from probe.results.repeat import train_command

PARQUET = "results.parquet"
CHECKED = "checked.txt"
"""One line per run, and one for the table: a name, and the digest of the state in which it was found whole."""
TABLE = 2
"""Increment whenever the same results give another table."""
FILES = (results.RUN, "config.yaml", "log.jsonl", "log.csv", results.CLIPS, results.PREDICTIONS)
"""What a finished run has in its folder, besides checkpoints; imported ones have no log."""
DRAWN = ("pictures", "points")
"""Folders of a run for its pictures, where some were drawn."""


@dataclass(frozen=True)
class Survey:
    """The finished runs below an artifact root.

    Attributes:
        whole: results of the runs whose files are those that they wrote, by run id.
        left_out: run id -> what is wrong with another run, and the command that helps.
    """

    whole: list[dict[str, Any]]
    left_out: dict[str, str] = field(default_factory=dict)


def survey(root: str | None) -> Survey:
    """Return all finished runs; those of which any file has changed are left out and named.

    Tables and pictures that are gone leave a run as it is: its results file says what was in them.
    """
    known = _remembered(root)
    checked: dict[str, str] = {PARQUET: known[PARQUET]} if PARQUET in known else {}
    whole: list[dict[str, Any]] = []
    left_out: dict[str, str] = {}
    for path in sorted(results_path(root).glob("*.json")):
        try:
            result = results.read(path)
            state = _state(root, result)
            if known.get(path.stem) != state:
                check_files(root, result)
        except SpatialprobeError as error:
            if not path.exists():  # trained again by another process
                continue
            left_out[path.stem] = f"{error.problem} ({error.where}); {error.fix}"
            continue
        checked[path.stem] = state
        whole.append(result)
    if checked != known:
        _remember(root, checked)
    return Survey(whole, left_out)


def check_files(root: str | None, result: Mapping[str, Any]) -> None:
    """Compare the files of a finished run with the digests in its result.

    Raises:
        CorruptionError: some are not those that the run wrote.
    """
    folder = runs_path(root) / str(result["run_id"])
    wrong = [name for name, known in result["files"].items() if _changed(folder / name, known)]
    if wrong:
        raise changed(root, result, wrong)


def changed(root: str | None, result: Mapping[str, Any], names: Sequence[str]) -> CorruptionError:
    """Return the error of a finished run with files that have changed; its weights are kept by the fix."""
    path = results.result_file(root, str(result["run_id"]))
    return CorruptionError(
        f"files of run {result['run_id']} are not those that it wrote: {', '.join(names[:4])}"
        + f" and {len(names) - 4} more" * (len(names) > 4),
        where=runs_path(root) / str(result["run_id"]),
        fix=f"delete {path}; {train_command(result, root=root)} then evaluates the run again",
    )


def folder_digests(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of what a run has just written into its folder, checkpoints left out."""
    drawn = sorted(path for name in DRAWN for path in (folder / name).rglob("*") if path.is_file())
    names = [*FILES, *(path.relative_to(folder).as_posix() for path in drawn)]
    return {name: sha256_file(folder / name) for name in names if (folder / name).is_file()}


def compact(root: str | None) -> Path | None:
    """Write `results.parquet`, unless it is the table of these runs already; None without any run.

    One row per whole run, `report.<metric>` and the like as columns; undefined values and missing intervals are null.
    """
    while there := _stamps(root):
        found = survey(root)
        tabulate(root, found)
        if _stamps(root) == there:  # else another process has added a run that its own table may lack by now
            return results_path(root) / PARQUET
    return None


def tabulate(root: str | None, found: Survey) -> bool:
    """Write `results.parquet` from the whole runs of a survey unless it is what they give; return whether it was."""
    path = results_path(root) / PARQUET
    rows = digest([TABLE, *(result["digest"] for result in found.whole)])
    known = _remembered(root)
    if path.is_file() and known.get(PARQUET) == digest([rows, sha256_file(path)]):
        return False
    import pandas as pd

    content = parquet_bytes(pd.DataFrame([_flat(result) for result in found.whole]))
    write_atomic(path, content)
    _remember(root, known | {PARQUET: digest([rows, sha256_bytes(content)])})
    return True


def _stamps(root: str | None) -> dict[str, int]:
    """Return the results files there are, with the times of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in results_path(root).glob("*.json")}


def _flat(result: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in result.items() if isinstance(value, (str, int, float, type(None)))}
    row["grid"] = "x".join(str(n) for n in result["grid"])
    for split in ("select", "report"):
        for key, values in result[split].items():
            row |= {f"{split}.{key}": values["value"]}
            row |= {f"{split}.{key}.{part}": values.get(part) for part in ("estimate", "low", "high", "n", "undefined")}
    row |= {f"selectivity.{key}": value for key, value in result.get("selectivity", {}).items()}
    for key, values in result.get("control_task", {}).get("metrics", {}).items():
        row |= {f"control_task.{key}": values["value"]}
        row |= {f"control_task.{key}.{part}": values[part] for part in ("low", "high", "true")}
    code = result.get("mdl", {})
    row |= {f"mdl.{key}": value for key, value in code.items() if isinstance(value, (int, float))}
    row.pop("mdl.compression", None)  # of 0.2.0 it is against a uniform code
    row |= {f"mdl.{key}": value for key, value in results.compressions(code).items()}
    return row


# ---- what has been checked


def _state(root: str | None, result: Mapping[str, Any]) -> str:
    """Return what stands for a result and the present state of the files that it names."""
    folder = f"{runs_path(root)}/{result['run_id']}"
    states = [f"{folder} {result['digest']}"]
    for name in result["files"]:
        try:
            stat = Path(f"{folder}/{name}").stat()
            states.append(f"{name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}")
        except OSError:
            states.append(name)
    return sha256_bytes("\n".join(states).encode())


def _changed(path: Path, known: str) -> bool:
    try:
        return sha256_file(path) != known if path.is_file() else path.exists()
    except OSError:
        return True


def _remembered(root: str | None) -> dict[str, str]:
    try:
        lines = read_regular(results_path(root) / CHECKED).decode().splitlines()
    except (OSError, UnicodeDecodeError, CorruptionError):
        return {}
    return {name: state for name, _, state in (line.partition(" ") for line in lines)}


def _remember(root: str | None, checked: Mapping[str, str]) -> None:
    """Write down what has been checked; where nothing can be written, it is checked again next time."""
    lines = "".join(f"{name} {state}\n" for name, state in checked.items())
    with contextlib.suppress(OSError):
        write_atomic(results_path(root) / CHECKED, lines.encode())
