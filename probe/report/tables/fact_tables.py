"""Tables that say what was compared: settings, sources, entries, runs, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from probe.report.runs.collect import Run
from probe.report.runs.commands import features_command, train_command
from probe.report.runs.settings import Setting, differing, main_settings
from probe.report.runs.sources import Source, model_facts
from probe.report.runs.stores import StoreFacts, last_extraction
from probe.report.scores.entries import Entry, on_paper_layer
from probe.report.tables.frames import defined, where

Rows = list[dict[str, Any]]


def setting_rows(settings: Sequence[Setting], entries: Mapping[str, Sequence[Entry]]) -> Rows:
    """Return table `settings`."""
    mains = main_settings(settings)
    rows: Rows = []
    for setting in settings:
        first = setting.real[0].result
        main = mains[setting.board, setting.task]
        best = next(m for (_, task), m in mains.items() if task == setting.task)
        clips = next((entry.clips for entry in entries[setting.id] if entry.clips), None)
        counts = first.get("clips", {})
        rows.append(
            {
                "setting": setting.id,
                "task": setting.task,
                "board": setting.board,
                "dataset": setting.key["dataset"],
                **{key: first[key] for key in ("profile", "plan", "variant", "split_scheme", "fraction")},
                "depth": setting.key["depth"],
                **{f"{split}_clips": counts.get(split) for split in ("train", "select", "report")},
                "report_rooms": len(set(clips.rooms)) if clips else None,
                "runs": len(setting.runs),
                "sources": len(setting.sources),
                "main": setting is main,
                "differs": "" if setting is best else "; ".join(differing(best.key, setting.key)),
            }
        )
    return rows


def source_rows(sources: Sequence[Source]) -> Rows:
    """Return table `sources`."""
    first: dict[str, str] = {}
    rows: Rows = []
    for source in sources:
        twin = first.setdefault(source.store, source.name)
        rows.append(
            {
                "source": source.name,
                **{key: getattr(source, key) for key in ("store", "label", "kind", "role", "untrained", "tiny")},
                "base": source.base if source.kind != "control" and not source.parts else None,
                "parts": "+".join(source.parts),
                "weights": source.weights or None,
                "same_features_as": twin if twin != source.name else None,
            }
        )
    return rows


def entry_rows(entries: Sequence[Entry]) -> Rows:
    """Return table `entries`."""
    return [
        {
            **where(entry),
            **entry.facts,
            "grid": "x".join(map(str, entry.facts["grid"] or [])),
            "kind": entry.source.kind,
            "untrained": entry.source.untrained,
            "store": entry.source.store,
            "candidates": entry.candidates,
            "paper_layer": on_paper_layer(entry),
            "select_value": defined(entry.select_value),
            "n_seeds": len(entry.runs),
            "seeds": ",".join(str(run.seed) for run in entry.runs),
            "runs": entry.run_ids,
        }
        for entry in entries
    ]


def run_rows(
    settings: Sequence[Setting],
    entries: Sequence[Entry],
    sources: Mapping[tuple[str, str], Source],
    facts: Mapping[tuple[str, str], StoreFacts],
) -> Rows:
    """Return table `runs`, the provenance of every number."""
    place = {run.run_id: entry for entry in entries for run in entry.runs}
    rows: Rows = []
    for setting in settings:
        for run in setting.runs:
            result = run.result
            entry = place.get(run.run_id)
            inputs = run.identity.get("inputs", {})
            rows.append(
                {
                    **{key: result.get(key) for key in _FROM_RESULT},
                    "setting": setting.id,
                    "entry": entry.id if entry else "",
                    "dataset_parameters": inputs.get("dataset_parameters"),
                    "config": run.config_digest,
                    "versions": ", ".join(f"{k} {v}" for k, v in (result.get("versions") or {}).items()),
                    "pictures": _files(run, "pictures", "*.png"),
                    "points": _files(run, "points", "*.ply"),
                    "extract_command": features_command(run, facts[run.source, run.store]),
                    "command": train_command(run.result),
                    "label": sources[run.source, run.store].label,
                }
            )
    return rows


_FROM_RESULT = (
    "run_id", "task", "source", "dataset", "store", "array", "seed", "control", "profile", "plan", "variant",
    "best_round", "device", "finished_at",
)  # fmt: skip


def _files(run: Run, folder: str, pattern: str) -> str:
    return "|".join(path.name for path in sorted(Path(run.folder / folder).glob(pattern)))


def cost_rows(entries: Sequence[Entry], facts: Mapping[tuple[str, str], StoreFacts], root: str | None) -> Rows:
    """Return table `costs`: one row per stored array that was probed."""
    groups: dict[tuple[str, str, str, str], list[Entry]] = {}
    for entry in entries:
        key = (entry.source.name, entry.source.store, str(entry.facts["array"]), str(entry.setting.key["dataset"]))
        groups.setdefault(key, []).append(entry)
    extractions = {name: last_extraction(root, name) for name in {key[0] for key in groups}}
    rows: Rows = []
    for (name, store, array, dataset), group in groups.items():
        found = facts[name, store]
        runs = [run.result for entry in group for run in entry.runs]
        shares = [float(r["seconds"]) / max(1, int(r.get("probes_in_pass") or 1)) for r in runs if r.get("seconds")]
        extraction = extractions[name]
        parameters, told = _parameters(group[0].source, extraction.parameters)
        rows.append(
            {
                "source": name,
                "label": group[0].label,
                "dataset": dataset,
                "store": store,
                "array": array,
                "model_parameters": parameters,
                "model_parameters_from": told,
                "bytes_per_clip": found.bytes_per_clip(array),
                "store_bytes": found.size,
                "clips": found.clips,
                "extract_seconds": None if extraction.seconds is None else round(extraction.seconds, 4),
                "extract_device": found.recorded.get("device"),
                "probe_parameters": max((int(r["parameters"]) for r in runs if r.get("parameters")), default=None),
                "probe_seconds": round(sum(shares) / len(shares), 3) if shares else None,
            }
        )
    return rows


def _parameters(source: Source, loaded: int | None) -> tuple[float | None, str | None]:
    """Return a backbone's parameters and how they are known: names tell billions, logs what was loaded."""
    last = source.base.rpartition("-")[2]
    if (
        not source.tiny
        and model_facts(source.base)
        and last.endswith("b")
        and last[:-1].replace(".", "", 1).isdecimal()
    ):
        return float(last[:-1]) * 1e9, "name"
    return (None, None) if loaded is None else (float(loaded), "log")
