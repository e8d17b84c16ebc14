"""Results files: one per run, written last; each ends with its own digest and names those of its run's other files."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import commands
from configs.errors import CorruptionError, MissingError, SpatialprobeError, VersionError, version_fix
from configs.files import is_sealed, results_path, runs_path, sealed, write_atomic
from probe.results.repeat import train_command

FORMAT = 2
"""Of results, of `run.json` and of kept evaluations."""
RUN, CLIPS, PREDICTIONS, WEIGHTS = "run.json", "clips.parquet", "predictions.parquet", "best.ckpt"
MAX_BYTES = 64 * 2**20
"""Larger files are refused unread; those of a thousand classes have less than 1 MiB."""

_RUN_ID, _DIGEST = re.compile(r"[0-9a-f]{16}"), re.compile(r"[0-9a-f]{64}")
_NAMES = ("task", "source", "dataset", "array", "depth", "profile", "split_scheme", "variant", "plan")
_SPLITS = ("select", "report")
_KINDS: dict[str, type] = {
    "files": dict, "made_from": dict, "classes": list, "clips": dict, "versions": dict, "selectivity": dict,
    "rooms": dict, "mdl": dict, "imported": dict, "control_task": dict,
}  # fmt: skip
_NUMBERS = (
    "relative_depth", "noise_level", "parameters", "best_round", "best_score", "rounds", "steps", "seconds",
    "probes_in_pass",
)  # fmt: skip
_TEXTS = ("device", "finished_at", "data_budget")
_INPUTS = ("dataset_parameters", "clips", "truth", "plan")
_FINISHED = (*_SPLITS, "config", "files", "weights", "inputs", "made_from")


def result_file(root: str | None, run_id: str) -> Path:
    """Return the results file of a run."""
    return results_path(root) / f"{run_id}.json"


def find(root: str | None, run_id: str) -> dict[str, Any] | None:
    """Return the result of a finished run, None if it isn't finished.

    Raises:
        CorruptionError, VersionError: as `read`.
    """
    path = result_file(root, run_id)
    return read(path) if path.is_file() else None


def write(root: str | None, result: Mapping[str, Any]) -> None:
    """Write the results file of a run: from then on it counts as finished."""
    path = result_file(root, str(result["run_id"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, to_json(result))


def read(path: Path) -> dict[str, Any]:
    """Return a results file.

    Raises:
        CorruptionError: a byte of it has changed, or it holds what no run writes.
        VersionError: it was written by another version.
    """

    def fix() -> str:
        return f"delete {path}; {_repeat(path)} then evaluates the run again"

    result = read_facts(path, fix)
    problem = f"a result of run {result['run_id']}" if result["run_id"] != path.stem else _what_is_wrong(result)
    if problem:
        raise CorruptionError(f"not a readable results file: {problem}", where=path, fix=fix())
    return result


def read_facts(path: Path, fix: str | Callable[[], str]) -> dict[str, Any]:
    """Return what is known of a run: a results file, or the `run.json` of a run that may still be unfinished.

    Args:
        path: the file.
        fix: what helps; called only if need be.

    Raises:
        CorruptionError: a byte of it has changed, or names in it are not names.
        VersionError: it was written by another version.
    """
    facts = read_sealed(path, fix)
    wrong = [key for key in _NAMES if not _is_name(facts.get(key))]
    wrong += [key for key, digits in (("run_id", _RUN_ID), ("store", _DIGEST)) if not _matches(digits, facts.get(key))]
    wrong += [key for key in ("seed", "channels") if not _is_count(facts.get(key))]
    grid = facts.get("grid")
    if not (isinstance(grid, list) and len(grid) == 2 and all(_is_count(n) and n <= 2**16 for n in grid)):
        wrong.append("grid")
    wrong += [key for key in ("control", "tap") if not isinstance(facts.get(key), str)]
    wrong += [key for key in ("config", "identity") if not isinstance(facts.get(key, {}), dict)]
    if wrong:
        found = "; ".join(f"{key}: {str(facts.get(key))[:80]!r}" for key in wrong[:4])
        raise CorruptionError("values that no run has", found=found, where=path, fix=_text(fix))
    return facts


def read_sealed(path: Path, fix: str | Callable[[], str]) -> dict[str, Any]:
    """Return a JSON file of a run: a results file, `run.json` or a kept evaluation.

    Args:
        path: the file.
        fix: what helps; called only if need be.

    Raises:
        CorruptionError: a byte of it has changed, or it is too large to be one.
        VersionError: it was written by another version.
    """
    try:
        if path.stat().st_size > MAX_BYTES or not path.is_file():
            raise ValueError(f"not a file of at most {MAX_BYTES} bytes")
        data = path.read_bytes()
        found = json.loads(data)
        version = found["format"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CorruptionError(f"not a readable results file: {error}", where=path, fix=_text(fix)) from error
    if version != FORMAT:
        raise VersionError(
            "written by another version",
            expected=f"format {FORMAT}",
            found=str(version)[:80],
            where=path,
            fix=version_fix(version, FORMAT, _text(fix)),
        )
    if not is_sealed(data):
        raise CorruptionError(
            "not a readable results file: its digest is not that of its bytes", where=path, fix=_text(fix)
        )
    result: dict[str, Any] = found
    return result


def _text(fix: str | Callable[[], str]) -> str:
    return fix if isinstance(fix, str) else fix()


def _repeat(path: Path) -> str:
    """Return the command that trains the run of a results file, as far as its `run.json` can be read."""
    try:
        facts = read_facts(path.parents[1] / "runs" / path.stem / RUN, "")
        return train_command(facts, root=str(path.parents[1]))
    except SpatialprobeError:
        return f"the {commands.probe('train')} command of this run"


def rounds_logged(root: str | None, run_id: str) -> int:
    """Return how many rounds the log of a run holds; after a kill one more than its checkpoint may."""
    path = runs_path(root) / run_id / "log.jsonl"
    return path.read_bytes().count(b"\n") if path.is_file() else 0


def to_json(value: Mapping[str, Any]) -> bytes:
    """Return the text of a results file, `run.json` or evaluation; numbers that are not finite become null.

    The last member is `digest`, the SHA-256 of the bytes before its line; one that `value` has is replaced.
    """
    content = {key: _clean(item) for key, item in value.items() if key != "digest"}
    return sealed(json.dumps(content, indent=1, sort_keys=False, allow_nan=False).encode())


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def has_code(result: Mapping[str, Any]) -> bool:
    """Whether a result holds a code length that can be compared with the code of class rates."""
    return "rate_bits" in result.get("mdl", {})


def compressions(code: Mapping[str, Any]) -> dict[str, float]:
    """Return how many times shorter a code of probes is than those without features; what is unknown is left out.

    `compression`: against the code of class rates. `uniform_compression`: against a uniform code, the only one that
    results of version 0.2.0 have, and which they call `compression`.

    Args:
        code: `mdl` of a result.
    """
    bits = code.get("bits")
    if not _is_number(bits) or not bits:
        return {}
    others = {"compression": code.get("rate_bits"), "uniform_compression": code.get("uniform_bits")}
    return {name: float(n) / float(bits) for name, n in others.items() if n is not None and _is_number(n)}


def find_run(root: str | None, run: str) -> dict[str, Any]:
    """Return the result of the finished run whose id begins with `run`; errors of `find_id` and `read`."""
    return read(result_file(root, find_id([path.stem for path in results_path(root).glob("*.json")], run, root)))


def find_id(known: Sequence[str], run: str, root: str | None) -> str:
    """Return the one id among those of finished runs that begins with `run`.

    Raises:
        MissingError: no run fits, or several do; the message lists them.
    """
    fitting = [run_id for run_id in known if run_id.startswith(run)]
    if len(fitting) != 1:
        raise MissingError(
            f"{'several finished runs match' if fitting else 'no finished run'} {run!r}",
            where=results_path(root),
            found=", ".join(fitting) or None,
            fix=f"{commands.probe('runs', root=root)} lists them",
        )
    return fitting[0]


# ---- what a run may say


def _what_is_wrong(result: Mapping[str, Any]) -> str:
    """Return what no finished run says; empty if all is well."""
    lacking = [key for key in _FINISHED if key not in result]
    if lacking:
        return f"no {', '.join(lacking)}"
    fraction = result.get("fraction")
    if not isinstance(fraction, (int, float)) or not 0 < fraction <= 1 or not _matches(_DIGEST, result["weights"]):
        return "fraction or weights"
    if not all(result.get(key) is None or _is_count(result[key]) for key in ("block", "blocks_total")):
        return "block is not a number of blocks"
    if wrong := [key for key in _NUMBERS if not _is_number(result.get(key))]:
        return f"{wrong[0]} is not a number"
    if wrong := [key for key in _TEXTS if not isinstance(result.get(key, ""), str)]:
        return f"{wrong[0]} is not a text"
    if not isinstance(result["inputs"], dict) or not all(isinstance(result["inputs"].get(k), str) for k in _INPUTS):
        return f"inputs are not {', '.join(_INPUTS)}"
    if not _is_count(result["config"].get("data_seed")):
        return "config.data_seed is not a seed"
    for split in _SPLITS:
        rows = result[split].items() if isinstance(result[split], dict) else [(split, None)]
        for name, row in rows:
            if not isinstance(row, dict) or not all(
                _is_number({"estimate": None, **row}.get(key, "none")) for key in ("value", "estimate", "low", "high")
            ):
                return f"{split}.{str(name)[:80]} is not a score"
            if not (_is_count(row.get("n")) and _is_count(row.get("undefined"))):
                return f"{split}.{str(name)[:80]} counts no clips"
    for key, kind in _KINDS.items():
        if not isinstance(result.get(key, kind()), kind):
            return f"{key} is not a {kind.__name__}"
    if not all(_is_number(value) for value in result.get("selectivity", {}).values()):
        return "selectivity is not a number"
    if not _is_control_task(result.get("control_task", {})):
        return "control_task is not a selectivity"
    if not all(isinstance(row, dict) for row in result.get("classes", [])):
        return "classes are not scores"
    if not _is_name(result.get("imported", {"file": "none"}).get("file")):
        return "imported.file is not a name"
    for name, known in result["files"].items():
        if not all(_is_name(part) for part in name.split("/")) or not _matches(_DIGEST, known):
            return f"{name[:80]!r} is not a file of a run"
    return ""


def _is_control_task(found: Mapping[str, Any]) -> bool:
    """Whether what is known of the control tasks of a run has a number, or None, wherever one is read."""
    metrics = found.get("metrics", {})
    if not _is_count(found.get("draws", 0)) or not isinstance(metrics, dict):
        return False
    if not all(isinstance(found.get(key, ""), str) for key in ("unit", "label", "left_out", "reason", "fix")):
        return False
    return all(
        isinstance(row, dict)
        and all(_is_number(row.get(key, "none")) for key in ("true", "value", "low", "high"))
        and isinstance(row.get("control"), list)
        and all(_is_number(value) for value in row["control"])
        for row in metrics.values()
    )


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_name(value: object) -> bool:
    """Whether a value is the name of one file or folder: it can't lead to another place."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= 255
        and value not in (".", "..")
        and value.isprintable()
        and not set(value) & set("/\\")
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    """Whether a value is a finite number, or None."""
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
