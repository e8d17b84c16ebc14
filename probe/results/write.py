"""What a run leaves behind: its description before it starts; tables, pictures and results once it is scored."""

from __future__ import annotations

import dataclasses
import math
import platform
import shutil
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from configs.files import sha256_file, write_atomic
from configs.identity import plain
from configs.loader import to_yaml
from configs.options import as_typed
from data.dataset.reader import PreparedDataset
from data.dataset.splits import SPLITS
from data.dataset.tables import parquet_bytes
from probe.config import RunConfig
from probe.inputs.inputs import Inputs
from probe.metrics.scores import Scores, clip_value, number
from probe.results import results
from probe.results.survey import DRAWN, compact, folder_digests
from probe.task import Metric, known_metrics, load_task
from probe.train.member import Member
from probe.train.schedule import Schedule


def write_tables(folder: Path, scores: Mapping[str, Scores], groups: Mapping[str, str]) -> None:
    """Write `clips.parquet` and `predictions.parquet` into a run's folder.

    Args:
        folder: where.
        scores: split -> scores.
        groups: clip id -> room.
    """
    import pandas as pd

    columns = ["split", "clip_id", "group_id", "metric", "value", "reason"]
    rows = [row for split, found in scores.items() for row in clip_rows(split, found, groups)]
    write_atomic(folder / results.CLIPS, parquet_bytes(pd.DataFrame(rows, columns=columns)))
    predictions = [
        {"split": split, **{key: value for key, value in row.items() if not key.startswith("_")}}
        for split, found in scores.items()
        for row in found.predictions
    ]
    write_atomic(folder / results.PREDICTIONS, parquet_bytes(pd.DataFrame(predictions)))


def clip_rows(split: str, scores: Scores, groups: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return one row per clip and metric or count; an undefined metric is null with its reason."""
    rows = []
    for clip_id, score in zip(scores.clip_ids, scores.per_clip, strict=True):
        known = {"split": split, "clip_id": clip_id, "group_id": groups.get(clip_id, clip_id)}
        for key in dict.fromkeys([*score.values, *score.undefined]):
            value = number(clip_value(score, key))
            rows.append({**known, "metric": key, "value": value, "reason": score.undefined.get(key)})
        for key, count in score.counts.items():
            rows.append({**known, "metric": f"count.{key}", "value": float(count), "reason": None})
    return rows


def describe(member: Member, inputs: Inputs) -> dict[str, Any]:
    """Return what identifies a run: its place among models, layers, seeds and controls."""
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
        "profile": config.how.profile,
        "seed": config.probe.recipe.seed,
        "depth": plan.depth,
        "control": "shuffled targets" if plan.control else "",
        "fraction": config.how.fraction,
        "data_budget": config.how.data_budget,
        "split_scheme": config.how.split_scheme,
        "variant": config.how.variant,
        "plan": inputs.plan.name,
        "inputs": dict(plan.inputs),
        "made_from": inputs.dataset.made_from,
        "parameters": sum(p.numel() for p in member.module.probe.parameters()),
    }


def write_run(member: Member, inputs: Inputs, facts: Mapping[str, Any] | None = None) -> None:
    """Write `config.yaml` and `run.json`, with more `facts` if given, into a run's folder, before it starts."""
    member.folder.mkdir(parents=True, exist_ok=True)
    config = member.plan.config
    write_atomic(member.folder / "config.yaml", to_yaml(config).encode())
    own = {"format": results.FORMAT, **describe(member, inputs), "config": plain(as_typed(config))}
    write_atomic(
        member.folder / results.RUN, results.to_json({**own, "identity": member.plan.identity, **(facts or {})})
    )


def write_all(
    members: Sequence[Member],
    scores: Mapping[str, Sequence[Scores]],
    *,
    config: RunConfig,
    inputs: Inputs,
    schedule: Schedule,
    device: torch.device,
    seconds: float,
    facts: Mapping[str, Any],
) -> dict[str, dict[str, Any]]:
    """Write tables, pictures and results of the runs of a pass; the results file comes last and makes a run finished.

    Args:
        members: the runs, with the weights that were scored.
        scores: split -> scores of each member.
        config: resolved configuration of the command.
        inputs, schedule, device: what the runs share.
        seconds: that training took.
        facts: more to record, instead of what is recorded by default.

    Returns:
        run id -> result.
    """
    written: dict[str, dict[str, Any]] = {}
    groups = inputs.dataset.rooms
    for i, member in enumerate(members):
        own = {split: values[i] for split, values in scores.items()}
        result: dict[str, Any] = {"format": results.FORMAT, **describe(member, inputs)}
        for split, found in own.items():
            result[split] = found.summary(groups, config.where.resamples)
        result |= {
            "classes": own["report"].classes,
            "best_round": int(member.best["round"]),
            "best_score": number(member.best["score"]),
            "rounds": schedule.rounds,
            "steps": schedule.total_steps,
            "clips": {split: len(getattr(inputs, split)) for split in SPLITS},
            "rooms": {split: len({groups[clip] for clip in getattr(inputs, split)}) for split in SPLITS},
            "seconds": round(seconds, 3),
            "probes_in_pass": len(members),
            "device": str(device),
            "versions": _versions(),
            "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "config": plain(as_typed(member.plan.config)),
        }
        result |= facts
        if member.plan.control:
            result |= _selectivity(member, result, written, config.where.root)
        write_tables(member.folder, own, groups)
        for name in DRAWN:  # pictures of other weights
            shutil.rmtree(member.folder / name, ignore_errors=True)
        if config.where.pictures and not member.plan.control:
            draw(member, inputs.dataset, own["report"], config.where.pictures)
        result["files"] = folder_digests(member.folder)
        result["weights"] = sha256_file(member.folder / results.WEIGHTS)
        results.write(config.where.root, result)
        written[member.run_id] = result
    compact(config.where.root)
    return written


def _selectivity(
    member: Member, result: dict[str, Any], written: Mapping[str, dict[str, Any]], root: str | None
) -> dict[str, Any]:
    """Compare a twin with its original, which is trained in the same pass or before."""
    original = dataclasses.replace(member.plan, control=False).run_id
    real = written.get(original) or results.find(root, original)
    found = selectivity(real["report"], result["report"], known_metrics(result["task"])) if real else {}
    return {"control_of": original, "selectivity": found}


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{name: version(name) for name in ("torch", "lightning", "numpy")}}


def draw(member: Member, dataset: PreparedDataset, scores: Scores, count: int, folder: Path | None = None) -> None:
    """Draw the task's pictures: of the split as a whole, and of its first clips.

    Args:
        member: the run.
        dataset: its dataset.
        scores: of the split.
        count: clips to draw.
        folder: where; default the run's own. Files go to `pictures/` and `points/` inside.
    """
    folder = folder or member.folder
    pictures = load_task(member.plan.config.task).part("pictures")
    draw_split, draw_clip = (getattr(pictures, name, None) for name in ("draw_split", "draw_clip"))
    if draw_split is not None:
        draw_split(scores, folder)
    if draw_clip is not None:
        for prediction in scores.predictions[:count]:
            draw_clip(dataset, prediction, folder)


def selectivity(
    real: Mapping[str, Mapping[str, Any]], twin: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Return metric -> how much better a probe is on the true targets than its twin on shuffled ones.

    After Hewitt and Liang (2019): an expressive probe scores well on anything, a selective one only where the
    features hold the answer. Positive is better whichever way the metric points; undefined ones are left out.

    Args:
        real, twin: summaries of the same split, as `Scores.summary` returns them.
        metrics: what is known of the task's metrics, by key; others are left out.
    """
    result = {}
    for key, info in metrics.items():
        if info.diagnostic:
            continue
        ours, theirs = (side.get(key, {}).get("value") for side in (real, twin))
        if ours is not None and theirs is not None:
            difference = ours - theirs
            result[key] = difference if info.better == "higher" else -difference
    return {key: value for key, value in result.items() if math.isfinite(value)}
