"""Results: one JSON file per run, written last and atomically; `results.parquet` is compacted from them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import commands
from configs.errors import CorruptionError, MissingError
from configs.files import results_path, runs_path, write_atomic
from data.dataset.tables import parquet_bytes

FORMAT = 2
PARQUET = "results.parquet"


def result_file(root: str | None, run_id: str) -> Path:
    """Return the results file of a run."""
    return results_path(root) / f"{run_id}.json"


def find(root: str | None, run_id: str) -> dict[str, Any] | None:
    """Return the result of a finished run, None if it isn't finished.

    Raises:
        CorruptionError: the file is damaged.
    """
    path = result_file(root, run_id)
    return read(path) if path.is_file() else None


def read(path: Path) -> dict[str, Any]:
    """Return a results file.

    Raises:
        CorruptionError: it isn't one.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or found["run_id"] != path.stem:
            raise ValueError(f"format {found['format']} of run {found['run_id']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptionError(
            f"not a readable results file: {error}", where=path, fix=f"delete {path}; the run is then evaluated again"
        ) from error
    result: dict[str, Any] = found
    return result


def read_all(root: str | None) -> list[dict[str, Any]]:
    """Return the results of all finished runs below an artifact root, by run id."""
    return [read(path) for path in sorted(results_path(root).glob("*.json"))]


def rounds_logged(root: str | None, run_id: str) -> int:
    """Return how many rounds the log of a run holds; after a kill one more than its checkpoint may."""
    path = runs_path(root) / run_id / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def compact(root: str | None) -> Path | None:
    """Write `results.parquet`: one row per run, `report.<metric>` and the like as columns. None without any run.

    Undefined values and missing intervals are null.
    """
    import pandas as pd

    path = results_path(root) / PARQUET
    while there := _stamps(root):
        rows = [_flat(result) for result in read_all(root)]
        write_atomic(path, parquet_bytes(pd.DataFrame(rows)))
        if _stamps(root) == there:  # else another process has added a run that its own table may lack by now
            return path
    return None


def _stamps(root: str | None) -> dict[str, int]:
    """Return the results files there are, with the times of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in results_path(root).glob("*.json")}


def _flat(result: dict[str, Any]) -> dict[str, Any]:
    row = {key: value for key, value in result.items() if isinstance(value, (str, int, float, type(None)))}
    row["grid"] = "x".join(str(n) for n in result["grid"])
    for split in ("select", "report"):
        for key, values in result[split].items():
            row |= {f"{split}.{key}": values["value"]}
            row |= {f"{split}.{key}.{part}": values[part] for part in ("low", "high", "n", "undefined")}
    row |= {f"selectivity.{key}": value for key, value in result.get("selectivity", {}).items()}
    row |= {f"mdl.{key}": value for key, value in result.get("mdl", {}).items() if isinstance(value, (int, float))}
    return row


def to_json(value: Any) -> bytes:
    """Return a results file's text; numbers that are not finite become null."""
    return (json.dumps(_clean(value), indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def find_run(root: str | None, run: str) -> dict[str, Any]:
    """Return the result of the finished run whose id begins with `run`; errors of `find_id`."""
    return read(result_file(root, find_id([path.stem for path in results_path(root).glob("*.json")], run, root)))


def find_id(known: Sequence[str], run: str, root: str | None) -> str:
    """Return the one id among those of finished runs that begins with `run`.

    Raises:
        MissingError: no run fits, or several do; the message lists them.
    """
    fitting = [run_id for run_id in known if run_id.startswith(run)]
    if len(fitting) != 1:
        raise MissingError(
            f"{'several finished runs fit' if fitting else 'no finished run'} {run!r}",
            where=results_path(root),
            found=", ".join(fitting) or None,
            fix=f"{commands.probe('runs', root=root)} lists them",
        )
    return fitting[0]
