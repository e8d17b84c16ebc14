"""Results: one JSON file per run, written last and atomically; `results.parquet` is compacted from them."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.errors import CorruptionError
from configs.files import write_atomic
from configs.identity import plain
from configs.loader import to_yaml
from configs.paths import results_path
from probe.metrics.scores import Scores, number
from probe.results.tables import write_tables
from probe.studies import controls
from probe.task import known_metrics

if TYPE_CHECKING:
    from probe.inputs.inputs import Inputs
    from probe.train.member import Member
    from probe.train.session import Session

FORMAT = 1
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


def selection_score(scores: Scores, member: Member) -> float:
    """Return the value that picks a member's checkpoint; `loss_pull` and the like name terms of the loss.

    Raises:
        ConfigError: the recipe names a metric that the task doesn't have.
    """
    from configs.errors import ConfigError
    from configs.loader import closest

    keys = {*scores.pooled, *(key for clip in scores.per_clip for key in (*clip.values, *clip.undefined))}
    if member.select not in keys:
        raise ConfigError(
            f"recipe.select names no metric of {member.plan.config.task}",
            found=member.select,
            fix=closest(member.select, keys),
        )
    return scores.value(member.select)


def describe(member: Member, inputs: Inputs) -> dict[str, Any]:
    """Return what a run is: its place among models, layers, seeds and controls."""
    plan, config = member.plan, member.plan.config
    store, array = inputs.layers[plan.array]
    return {
        "run_id": plan.run_id,
        "task": config.task,
        "source": store.source,
        "dataset": inputs.dataset.name,
        "store": store.fingerprint_digest,
        "array": array.name,
        "tap": array.tap,
        "block": array.block,
        "blocks_total": array.blocks_total,
        "relative_depth": array.relative_depth,
        "noise_level": array.noise_level,
        "grid": list(member.module.facts.grid),
        "channels": member.module.facts.channels,
        "profile": config.profile,
        "seed": config.recipe.seed,
        "depth": plan.depth,
        "control": "shuffled targets" if plan.control else "",
        "fraction": config.fraction,
        "split_scheme": config.split_scheme,
        "variant": config.variant,
        "plan": inputs.plan.name,
        "parameters": sum(p.numel() for p in member.module.probe.parameters()),
    }


def write_run(member: Member, inputs: Inputs) -> None:
    """Write `config.yaml` and `run.json` into a run's folder, before it starts."""
    member.folder.mkdir(parents=True, exist_ok=True)
    write_atomic(member.folder / "config.yaml", to_yaml(member.plan.config).encode())
    facts = {**describe(member, inputs), "identity": member.plan.identity}
    write_atomic(member.folder / "run.json", to_json(facts))


def write_all(
    members: Sequence[Member],
    scores: Mapping[str, Sequence[Scores]],
    session: Session,
    seconds: float,
    facts: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Write tables, pictures and results of the runs of a pass; the results file comes last and makes a run finished.

    Args:
        members: the runs, with the weights that were scored.
        scores: split -> scores of each member.
        session: what they share.
        seconds: that training took.
        facts: more to record, instead of what is recorded by default.

    Returns:
        run id -> result.
    """
    written: dict[str, dict[str, Any]] = {}
    groups = {str(key): str(room) for key, room in session.inputs.dataset.clips["group_id"].items()}
    for i, member in enumerate(members):
        own = {split: values[i] for split, values in scores.items()}
        result: dict[str, Any] = {"format": FORMAT, **describe(member, session.inputs)}
        config = session.config
        for split, found in own.items():
            result[split] = found.summary(groups, config.resamples)
        result |= {
            "classes": own["report"].classes,
            "best_round": int(member.best["round"]),
            "best_score": number(member.best["score"]),
            "rounds": session.schedule.rounds,
            "steps": session.schedule.total_steps,
            "clips": {split: len(getattr(session.inputs, split)) for split in ("train", "select", "report")},
            "seconds": round(seconds, 3),
            "probes_in_pass": len(members),
            "device": str(session.device),
            "versions": _versions(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": plain(member.plan.config),
        }
        result |= facts
        if member.plan.control:
            result |= _selectivity(member, result, written, config.root)
        write_tables(member.folder, own, groups)
        if config.pictures and not member.plan.control:
            from probe.pictures import draw

            draw(member, session, own["report"], config.pictures)
        path = result_file(config.root, member.run_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, to_json(result))
        written[member.run_id] = result
    compact(session.config.root)
    return written


def _selectivity(
    member: Member, result: dict[str, Any], written: Mapping[str, dict[str, Any]], root: str | None
) -> dict[str, Any]:
    """Compare a twin with its original, which is trained in the same pass or before."""
    from dataclasses import replace

    original = replace(member.plan, control=False).run_id
    real = written.get(original) or find(root, original)
    found = controls.selectivity(real["report"], result["report"], known_metrics(result["task"])) if real else {}
    return {"control_of": original, "selectivity": found}


def compact(root: str | None) -> Path | None:
    """Write `results.parquet`: one row per run, `report.<metric>` and the like as columns. None without any run.

    Undefined values and missing intervals are null.
    """
    import pandas as pd

    from data.dataset.tables import parquet_bytes

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


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {"python": platform.python_version(), **{name: version(name) for name in ("torch", "lightning", "numpy")}}
