"""A report whose every table has rows, made of invented numbers; run folders with predictions near the truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.dataset.reader import PreparedDataset
from data.dataset.targets import geometry_targets
from probe.pictures import write_ply
from probe.report.columns import COLUMNS
from probe.report.contract import ReportData, Statement, columns_of
from probe.report.tables.schema import TABLES
from probe.task import load_task

TASKS = ("tagging", "instance", "geometry")
SOURCES: tuple[dict[str, Any], ...] = (
    {"source": "wan-t2v-1.3b", "label": "WAN2.1-T2V-1.3B", "kind": "vgm", "role": "model", "base": "wan-t2v-1.3b"},
    {"source": "qwen-tiny-random", "label": "Qwen3-VL-2B", "kind": "vlm", "role": "untrained twin",
     "untrained": True, "tiny": True, "base": "qwen3-vl-2b"},
    {"source": "position", "label": "Position only", "kind": "control", "role": "position"},
    {"source": "oracle", "label": "Oracle <all>", "kind": "control", "role": "oracle"},
)  # fmt: skip
BLOCKS = {"wan-t2v-1.3b": (1, 2), "qwen-tiny-random": (1, 2)}


def run_id(task: str, source: str) -> str:
    return f"{TASKS.index(task)}{[s['source'] for s in SOURCES].index(source)}".ljust(16, "a")


def sample(root: Path | None = None, stores: Mapping[str, str] | None = None) -> ReportData:
    """Return the report.

    Args:
        root: artifact root with dataset `toy`, for pictures.
        stores: source -> first digits of its fingerprint.
    """
    maker = _Maker(stores or {})
    words = (
        Statement("warning", "Demo: every backbone here has random weights. <b>Not a result.</b>"),
        Statement("finding", "The oracle beats position.", (maker.cells[0]["cell"],), "tagging"),
        Statement("limit", "Nothing about pretrained models."),
        Statement("gap", "No second seed: spatialprobe probe train seeds=0,1"),
        Statement("method", "Intervals: bootstrap over rooms."),
    )
    provenance = {
        "made_at": "2026-11-21", "command": "spatialprobe probe report", "runs": 12, "versions": {"torch": "2.13"},
        "citation": "Published figures: Table 1 of the paper.",
    }  # fmt: skip
    frames = {name: pd.DataFrame(maker.tables.get(name, []), columns=columns_of(name)) for name in TABLES}
    return ReportData(frames, words, provenance, None if root is None else str(root))


class _Maker:
    def __init__(self, stores: Mapping[str, str]) -> None:
        self.random = np.random.default_rng(0)
        self.cells: list[dict[str, Any]] = []
        self.stores = stores
        self.tables: dict[str, list[dict[str, Any]]] = {"sources": [dict(row) for row in SOURCES], "cells": self.cells}
        for row in self.tables["sources"]:
            row.setdefault("untrained", False)
            row.setdefault("tiny", False)
            row["store"] = stores.get(row["source"], "")
        for number, task in enumerate(TASKS):
            self.task(task, f"s{number}")
        self.boards()

    def add(self, table: str, **values: Any) -> None:
        self.tables.setdefault(table, []).append(values)

    def value(self, table: str, column: str = "value", runs: str = "") -> dict[str, Any]:
        """An invented value with interval, and its row in `cells`."""
        value = float(self.random.uniform(0.1, 0.9))
        row = len(self.tables.get(table, []))
        cell = f"c{len(self.cells):05d}"
        self.cells.append({"cell": cell, "table": table, "row": row, "column": column, "value": value, "runs": runs})
        interval = {"low": value - 0.05, "high": value + 0.05}
        return {"cell": cell, "value": value, **interval, "n_clips": 3, "n_rooms": 3, "n_seeds": 1, "reason": ""}

    def task(self, task: str, setting: str) -> None:
        self.add(
            "settings", setting=setting, task=task, board="b0", dataset="toy", profile="smoke", plan="paper-2",
            variant="standard", split_scheme="standard", depth="1", fraction=1.0, train_clips=6,
            select_clips=3, report_clips=3, report_rooms=3, runs=4, sources=4, main=True, differs="",
        )  # fmt: skip
        metrics = [c for c in COLUMNS if c.task == task]
        for source in SOURCES:
            name, run = source["source"], run_id(task, source["source"])
            where = {"setting": setting, "task": task, "source": name, "label": source["label"]}
            blocks: tuple[int | None, ...] = BLOCKS.get(name, (None,))
            for block in blocks:
                layer = {
                    "entry": f"{setting}-{name}-{block}", "array": f"{name}.b{block}.4x4" if block else f"{name}.4x4",
                    "chosen": block in (2, None), "block": block, "relative_depth": block and block / 2,
                    "noise_level": None,
                }  # fmt: skip
                self.add(
                    "entries", **where, **layer, kind=source["kind"], role=source["role"], runs=run, n_seeds=1,
                    untrained=source.get("untrained", False), store=self.stores.get(name, ""), tap="x", blocks_total=2,
                )  # fmt: skip
                for column in metrics:
                    shared = {**where, **layer, "metric": column.metric, "better": column.better}
                    if block is not None:
                        self.add("layers", **shared, **self.value("layers", runs=run))
                    if name == "wan-t2v-1.3b" and block == 2:
                        for level in (0.25, 0.5):
                            self.add("noise", **{**shared, "noise_level": level}, **self.value("noise", runs=run))
                        for x in (-1, 0, 2):
                            more = {"curve": setting, "axis": "depth", "x": x, "x_label": f"depth {x}"}
                            self.add("curves", **shared, **more, **self.value("curves", runs=run))
            self.add(
                "runs", run_id=run, setting=setting, task=task, source=name, entry=f"{setting}-{name}", dataset="toy",
                store=self.stores.get(name, ""),
                array=layer["array"], seed=0, control="", config="abc", profile="smoke", plan="paper-2", device="cpu",
                versions="torch 2.13", finished_at="2026-11-21",
                command=f"spatialprobe probe train task={task} model={name}",
                extract_command=f"spatialprobe extract run model={name}", dataset_parameters="d" * 64,
            )  # fmt: skip
            self.details(task, where, run)
        self.pairs(task, setting)

    def details(self, task: str, where: dict[str, Any], run: str) -> None:
        entry = {"entry": f"{where['setting']}-{where['source']}"}
        if task == "tagging":
            for place, name in enumerate(("bed", "chair", "lamp")):
                facts = {"class": name, "bucket": "mid", "positives": place, "train_rate": 0.5, "chance": 0.3}
                found = self.value("classes", runs=run) if place else {"value": None, "cell": None, "reason": "no clip"}
                self.add("classes", **where, **entry, **facts, **found)
            self.add("selectivity", **where, **entry, metric="map", array="x", **self.value("selectivity", runs=run))
        if task == "geometry":
            for table, count in (("depth_error", 10), ("frame_error", 4)):
                for place in range(count):
                    bins = {"bin": place, "bin_label": f"bin {place}"}
                    self.add(table, **where, **entry, **bins, **self.value(table, runs=run))
        self.add(
            "costs", source=where["source"], label=where["label"], dataset="toy", array="x", bytes_per_clip=81920,
            model_parameters=1.3e9, clips=12, extract_seconds=0.25, probe_parameters=12345, probe_seconds=3.2,
            extract_device="cpu", store_bytes=2.5e6, model_parameters_from="name",
        )  # fmt: skip

    def pairs(self, task: str, setting: str) -> None:
        model, twin = SOURCES[0], SOURCES[1]
        for other in (SOURCES[1], SOURCES[2]):
            found = self.value("pairs", "difference")
            difference = {"difference": found["value"], "low": found["low"], "high": found["high"]}
            self.add(
                "pairs", setting=setting, task=task, metric=load_task(task).headline, better="higher", family="models",
                a="a", b="b", a_source=model["source"], b_source=other["source"], a_label=model["label"],
                b_label=other["label"], a_value=0.5, b_value=0.4, **difference, advantage=0.1, effect=1.2,
                rooms_better=1.0, p=0.25, p_corrected=0.5, p_smallest=0.25, n_rooms=3, test="sign flips",
                cell=found["cell"],
                verdict="a better" if other is twin else "not distinguishable", comparisons=2,
            )  # fmt: skip
            for column in (c for c in COLUMNS if c.task == task):
                found = self.value("controls", "difference")
                self.add(
                    "controls", setting=setting, task=task, source=model["source"], label=model["label"],
                    control=other["role"], control_source=other["source"], control_label=other["label"],
                    metric=column.metric, better=column.better, value=0.6, control_value=0.3, difference=found["value"],
                    low=found["low"], high=found["high"], advantage=found["value"], cell=found["cell"],
                )  # fmt: skip

    def boards(self) -> None:
        names = {"vgm": "Video generation models", "vlm": "Vision-language models", "control": "Controls"}
        for source in SOURCES:
            cells: dict[str, Any] = {}
            point: dict[str, Any] = {}
            for column in COLUMNS:
                found = self.value("main", column.metric, run_id(column.task, source["source"]))
                point[column.metric] = found["value"]
                cells[column.metric] = found["value"]
                cells |= {
                    f"{column.metric}.{key}": found[key] for key in ("low", "high", "n_clips", "n_rooms", "n_seeds")
                }
                cells[f"{column.metric}.cell"] = found["cell"]
            who = {key: source.get(key, False) for key in ("source", "label", "role", "untrained")}
            place = {"board": "b0", "section": names[source["kind"]], "layers": "tagging: x.b2; geometry: x.b2"}
            self.add("main", **place, origin="ours", n_models=1, **who, **cells)
            keys = ("map", "t_miou", "pmap_err", "abs_rel", "auc_30")
            self.add("scatter", board="b0", origin="ours", kind=source["kind"], **who, **{k: point[k] for k in keys})
            for column in COLUMNS:
                found = self.value("radar", "normalised")
                ends = {"normalised": found["value"], "low": found["low"], "high": found["high"], "cell": found["cell"]}
                self.add("radar", board="b0", **who, metric=column.metric, **ends)
        first = {"board": "b0", "section": names["vgm"], "source": "wan-t2v-1.3b", "label": "WAN2.1-T2V-1.3B"}
        published = {column.metric: 0.5 for column in COLUMNS}
        self.add("main", origin="published", **first, **published, untrained=False)
        self.add("main", origin="difference", **first, **dict.fromkeys(published, -0.1), untrained=False)
        self.add("main", board="b0", section=names["vgm"], origin="average", label="Average of 1 model", **published)
        only = {"section": "Published only", "source": "aether", "label": "Aether", "origin": "published"}
        self.add("main", board="b0", **only, **published, untrained=False)
        for kind in ("vgm", "vlm"):
            point = {"source": kind, "label": kind.upper(), "kind": kind, "map": 0.6, "auc_30": 0.5, "abs_rel": 0.1}
            self.add("scatter", board="", origin="published", t_miou=0.2, **point)


def write_runs(root: Path, clip_ids: list[str]) -> None:
    """Write predictions and points of every run in the sample, near the truth for the oracle, far for position."""
    dataset = PreparedDataset.open("toy", root)
    random = np.random.default_rng(0)
    for source in SOURCES:
        noise = {"oracle": 0.0, "position": 0.5}.get(source["source"], 0.2)
        clusters, depths = [], []
        folder = root / "runs" / run_id("geometry", source["source"])
        for clip_id in clip_ids:
            queries = list(dataset.query_positions(clip_id))[:2]
            ids = dataset.instance_maps(clip_id, queries)[:, 2::4, 2::4].astype(np.int32)
            shuffled = np.where(random.random(ids.shape) < noise, -1, ids - 1)
            common = {"split": "report", "clip_id": clip_id, "queries": queries}
            clusters.append({**common, "shape": list(ids.shape), "clusters": shuffled.reshape(-1).tolist()})
            truth = geometry_targets(dataset.depth(clip_id, queries), *dataset.cameras(clip_id, queries), size=(16, 16))
            depth = truth.depth * np.exp(noise * random.standard_normal(truth.depth.shape)).astype(np.float32)
            cameras = truth.world2cam[:, :3].copy()
            cameras[1:, :, 3] += noise
            row = {"shape": list(depth.shape), "depth": depth.reshape(-1).tolist()}
            depths.append({**common, **row, "world_to_camera": cameras.reshape(-1).tolist()})
            points = truth.points[truth.depth > 0].astype(np.float64)
            points += noise * random.standard_normal(points.shape)
            colours = np.tile(np.array([200, 120, 40], np.uint8), (len(points), 1))
            write_ply(folder / "points" / f"{clip_id}-predicted.ply", points, colours)
        for task, rows in (("instance", clusters), ("geometry", depths)):
            place = root / "runs" / run_id(task, source["source"])
            place.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_parquet(place / "predictions.parquet")
