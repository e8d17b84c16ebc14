"""A study on disk whose numbers are easy to derive by hand: results files, run folders and stores, no training."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cache.format.records import render
from configs.identity import digest
from probe.metrics.score import ClipScore
from probe.metrics.scores import Scores
from probe.results import results
from probe.results.results import FORMAT
from probe.results.survey import folder_digests
from probe.results.write import write_tables
from probe.task import load_task
from probe.tasks.tagging.jackknife import tagging_pooled
from probe.tasks.tagging.metrics import tagging_score

CLASSES = ("wall", "bed", "sink")
RATES = (0.9, 0.5, 0.1)


class Study:
    """Writes finished runs below an artifact root."""

    def __init__(self, root: Path, clips: int = 6, rooms: int = 3) -> None:
        self.root = root
        self.resamples = 40  # of the results files: slow, and the report makes its own
        self.clips = [f"clip{i}" for i in range(clips)]
        self.rooms = {clip: f"room{i % rooms}" for i, clip in enumerate(self.clips)}

    def tagging(self, source: str, logits: np.ndarray, labels: np.ndarray, **options: Any) -> str:
        """Add a tagging run from (N, C) logits and labels."""
        variant = options.get("variant", "standard")
        scores = Scores(list(self.clips), [ClipScore({"log_loss": 1.0}) for _ in self.clips])
        whole = tagging_score(labels, logits, np.array(RATES), variant=variant)
        names = ("head", "mid", "tail")
        buckets = [names[index] for index in whole.buckets]
        scores.pooled = whole.values
        scores.by_room = lambda rooms: tagging_pooled(labels.astype(bool), logits, CLASSES, buckets, rooms, variant)
        scores.classes = [
            {"name": CLASSES[c], "ap": None if np.isnan(whole.ap[c]) else float(whole.ap[c]), "f1": None,
             "positives": int(labels[:, c].sum()), "train_rate": RATES[c], "bucket": names[whole.buckets[c]]}
            for c in range(len(CLASSES))
        ]  # fmt: skip
        scores.predictions = [
            {"clip_id": clip, "queries": [0, 1], "logits": logits[i], "labels": labels[i].astype(bool)}
            for i, clip in enumerate(self.clips)
        ]
        return self.run("tagging", source, scores, **options)

    def per_clip(self, task: str, source: str, values: Mapping[str, Sequence[float]], **options: Any) -> str:
        """Add a run of instance or geometry from metric -> (N,) values; NaN is undefined."""
        each = [
            ClipScore(
                {name: float(column[i]) for name, column in values.items()},
                undefined={name: "no objects" for name, column in values.items() if np.isnan(column[i])},
            )
            for i in range(len(self.clips))
        ]
        return self.run(task, source, Scores(list(self.clips), each), **options)

    def run(
        self,
        task: str,
        source: str,
        scores: Scores,
        *,
        select: float | None = None,
        store: Mapping[str, Any] | None = None,
        array: str = "",
        block: int | None = None,
        noise: float | None = None,
        tap: str = "llm",
        seed: int = 1,
        depth: int = 0,
        variant: str = "standard",
        split_scheme: str = "standard",
        plan: str = "paper-2",
        dataset: str = "toy",
        control_of: str = "",
        extra: Mapping[str, Any] | None = None,
    ) -> str:
        """Write everything that a finished run leaves; `select` is the main metric on the select split."""
        fingerprint = dict(store or {"adapter": {"family": source}})
        print_ = digest(fingerprint)
        array = array or f"{tap}{'' if block is None else f'.b{block}'}{'' if noise is None else f'.s{noise:g}'}.2x2"
        config = {
            "task": task, "model": source, "dataset": dataset, "profile": "smoke", "variant": variant, "seeds": [seed],
            "split_scheme": split_scheme, "fraction": 1, "sampler": "paper", "data_seed": 0, "readout": "probe",
            "resamples": 1000, "device": "auto",
            "trunk": {"width": 64, "depth": depth}, "recipe": {"length": 300, "seed": seed, "queries": 2},
        }  # fmt: skip
        inputs = {"dataset_parameters": "d" * 8, "clips": "c" * 8, "truth": "t" * 8, "plan": f"sha of {plan}"}
        name = digest([task, source, print_, array, seed, depth, variant, split_scheme, plan, dataset, control_of])[:16]
        summary = scores.summary(self.rooms, self.resamples)
        chosen = {key: dict(row) for key, row in summary.items()}
        if select is not None:
            chosen[load_task(task).headline] |= {"value": select}
        result = {
            "format": FORMAT, "run_id": name, "task": task, "source": source, "dataset": dataset, "store": print_,
            "array": array, "tap": tap, "block": block, "blocks_total": 6 if block is not None else None,
            "relative_depth": None if block is None else block / 6, "noise_level": noise, "grid": [2, 2],
            "channels": 4, "profile": "smoke", "seed": seed, "depth": str(depth),
            "control": "shuffled targets" if control_of else "", "fraction": 1.0, "split_scheme": split_scheme,
            "variant": variant, "plan": plan, "parameters": 100, "select": chosen, "report": summary,
            "classes": scores.classes, "best_round": 0, "best_score": 0.5, "rounds": 1, "steps": 300,
            "clips": {"train": 10, "select": 6, "report": len(self.clips)}, "seconds": 6.0, "probes_in_pass": 2,
            "device": "cpu", "versions": {"torch": "2"}, "finished_at": "2026-01-01T00:00:00+0000", "config": config,
            "inputs": inputs, "made_from": {"kind": "rooms"},
        }  # fmt: skip
        if control_of:
            result |= {"control_of": control_of}
        result |= dict(extra or {})
        folder = self.root / "runs" / name
        folder.mkdir(parents=True, exist_ok=True)
        facts = {key: value for key, value in result.items() if key not in ("select", "report", "classes")}
        (folder / "run.json").write_bytes(results.to_json({**facts, "identity": {"inputs": inputs}}))
        for other in ("config.yaml", "log.jsonl", "log.csv"):
            (folder / other).write_text(f"{other} of {name}\n")
        write_tables(folder, {"report": scores}, self.rooms)
        result |= {"files": folder_digests(folder), "weights": "0" * 64}
        results.write(str(self.root), result)
        self.store(dataset, source, print_, fingerprint, array)
        return name

    def seal(self, name: str, **changes: Any) -> None:
        """Write the result of a run again as its files are now, with some values changed."""
        folder = self.root / "runs" / name
        path = results.result_file(str(self.root), name)
        told = {**json.loads(path.read_text(encoding="utf-8")), **changes}
        path.write_bytes(results.to_json({**told, "files": folder_digests(folder), **changes}))

    def store(self, dataset: str, source: str, print_: str, fingerprint: Mapping[str, Any], array: str) -> None:
        """Write the small files of a store; further arrays are added."""
        folder = self.root / "features" / dataset / source / print_[:12]
        (folder / "commits").mkdir(parents=True, exist_ok=True)
        path = folder / "store.json"
        known = json.loads(path.read_text())["arrays"] if path.is_file() else []
        spec = {"name": array, "dtype": "bfloat16", "grid": [2, 2], "rows": 20, "channels": 4}
        arrays = [*(a for a in known if a["name"] != array), spec]
        path.write_bytes(render({"fingerprint": fingerprint, "recorded": {"device": "cpu"}, "arrays": arrays}))

    def read(self, folder: Path, table: str) -> pd.DataFrame:
        """Read a table of a written report."""
        return pd.read_parquet(folder / "tables" / f"{table}.parquet")
