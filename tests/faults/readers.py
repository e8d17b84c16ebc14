"""Every kind of file in an artifact root, and what those who read it return."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from cache.care.verify import verify as verify_store
from cache.store import FeatureStore
from configs.errors import SpatialprobeError
from configs.identity import plain
from data.dataset import clip_files, reader
from data.dataset.queries import load_plan
from data.dataset.reader import PreparedDataset
from data.dataset.tables import parquet_bytes
from data.look import verify
from data.look.inspect import inspect
from data.rooms.kind import KIND
from extract.video.kept import kept
from extract.weights.hashes import file_hashes
from fusion.opening import open_source
from fusion.record import find_views, view_entry
from probe.config import EvaluateConfig
from probe.report.runs.collect import collect
from probe.report.runs.stores import dataset_kind, last_extraction, store_facts
from probe.results import results
from probe.results.apply import evaluate
from probe.results.survey import PARQUET
from probe.train.run_folder import load_checkpoint
from tests.faults.artifacts import DATASET, FUSED, PLAN, RAW, latents, options, prompt

Values = dict[str, Any]


class Reading(NamedTuple):
    """What those who read a file return, and what they say of files that are not as written."""

    values: Values
    said: str = ""


def content(value: Any) -> Any:
    """Return something that `==` compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, pd.DataFrame):
        return parquet_bytes(value)
    if isinstance(value, dict):
        return {key: content(item) for key, item in value.items()}
    return [content(item) for item in value] if isinstance(value, (list, tuple)) else value


def opened(root: Path) -> PreparedDataset:
    reader._remembered_files.cache_clear()
    clip_files._open_dense.cache_clear()
    verify._opened.cache_clear()
    return PreparedDataset(root / "datasets" / DATASET)


def read_dataset(root: Path, path: Path) -> Reading:
    """Everything but the clips: what `data inspect` and `data verify` print, tables, plan, what the report says."""
    dataset = opened(root)
    values: Values = {"identity": dataset.identity, "index": dataset.clips, "kind": dataset_kind(str(root), DATASET)}
    for clip_id in dataset.clips["clip_id"]:
        positions = dataset.positions(clip_id).tolist()
        values[clip_id] = [
            positions, dataset.sources(clip_id), dataset.cameras(clip_id, positions), dataset.instances(clip_id),
            dataset.class_pixels(clip_id, positions),
        ]  # fmt: skip
    values["plan"] = [(plan := load_plan(dataset, PLAN)).queries, plan.sha256]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        inspect(dataset)
        KIND.show(dataset.path)
        problems = verify.dataset_problems(dataset)
    return Reading({**values, "printed": printed.getvalue()}, "\n".join(problems))


def read_clip(root: Path, path: Path) -> Reading:
    """Frames and dense ground truth of the clip that a file belongs to, and what `data verify` finds in it."""
    dataset = opened(root)
    clip_id = path.relative_to(dataset.path / "clips").parts[0]
    positions = dataset.query_positions(clip_id)
    reads: dict[str, Callable[[], Any]] = {
        "frames": lambda: dataset.frames(clip_id, dataset.positions(clip_id).tolist()),
        "depth": lambda: dataset.depth(clip_id, positions),
        "instances": lambda: dataset.instance_maps(clip_id, positions),
    }
    values, said = attempt(reads)
    return Reading(values, "\n".join([said, *verify.verify_clip(dataset.path, 2, clip_id).problems]))


def read_store(root: Path, path: Path) -> Reading:
    """All rows and statistics of the store that a file belongs to, what `cache verify` finds, what the report says."""
    source, short = path.relative_to(root / "features" / DATASET).parts[:2]
    folder = root / "features" / DATASET / source / short
    store = FeatureStore.open(folder)
    reads: dict[str, Callable[[], Any]] = {
        "arrays": lambda: plain(store.arrays),
        "facts": lambda: plain([store.fingerprint, store.header.recorded, [store.entry(clip) for clip in store.clips]]),
        "missing": lambda: store.missing(quarantined=True),
        "quarantined": store.quarantined,
    }
    for name, array in store.arrays.items():
        reads[f"statistics {name}"] = partial(store.statistics, name, store.clips)
        for clip_id in store.clips:
            reads[f"{name} {clip_id}"] = partial(store.read, [(clip_id, name, range(array.rows))])
    values, said = attempt(reads)
    values["report"] = plain(store_facts(str(root), DATASET, source, short, measure=False))
    return Reading(values, "\n".join([said, *map(str, verify_store(store.backend))]))


def read_views(root: Path, path: Path) -> Reading:
    """All rows of the fused views, and the list of them."""
    values: Values = {"views": plain([view_entry(record) for record in find_views(root, DATASET)])}
    for fused in FUSED:
        view = open_source(root, DATASET, fused)
        for name, array in view.arrays.items():
            values[fused] = [view.read([(clip_id, name, range(array.rows))])[0] for clip_id in view.clips]
        values[f"report {fused}"] = plain(
            store_facts(str(root), DATASET, fused, view.fingerprint_digest[:12], measure=False)
        )
    return Reading(values)


def read_runs(root: Path, path: Path) -> Reading:
    """What the report collects of every run, and its row in the table of all runs; the others are named."""
    found = collect(str(root))
    table = pd.read_parquet(root / "results" / PARQUET).set_index("run_id").astype(object)
    table = table.where(table.notna(), None)  # columns that only other runs have
    values: Values = {}
    for run in found.runs:
        values[run.run_id] = [run.result, run.identity, run.clips, run.predictions, plain(found.stale)]
        cells = {key: cell for key, cell in table.loc[run.run_id].items() if cell is not None}
        # whole numbers are read as others where other runs have none
        values[f"row {run.run_id}"] = {key: str(cell).removesuffix(".0") for key, cell in cells.items()}
    assert set(table.index) == {run.run_id for run in [*found.runs, *(run for run, _ in found.stale)]}
    return Reading(values, "\n".join([*found.gaps, *found.left_out.values()]))


def read_checkpoint(root: Path, path: Path) -> Reading:
    result = results.find_run(str(root), path.parent.name)
    return Reading(load_checkpoint(path, result["run_id"], "", result["weights"] * (path.name == results.WEIGHTS)))


def read_evaluation(root: Path, path: Path) -> Reading:
    return Reading(evaluate(options(EvaluateConfig, root, run=path.parents[1].name, device="cpu", resamples="20")))


def read_log(root: Path, path: Path) -> Reading:
    return Reading({key: value for key, value in plain(last_extraction(str(root), RAW)).items() if value is not None})


def read_kept(root: Path, path: Path) -> Reading:
    folder = root / "extract-cache"
    found = [kept(folder / "prompts", ["prompt"], prompt), kept(folder / "latents", ["latents"], latents, spread=True)]
    return Reading({"kept": found})


def read_hashes(root: Path, path: Path) -> Reading:
    found = file_hashes([root / "weights.safetensors"], root / "extract-cache" / "hashes")
    return Reading({file.name: known for file, known in found.items()})


def attempt(reads: dict[str, Callable[[], Any]]) -> tuple[Values, str]:
    """Return what can be read, and the errors of what is refused."""
    values: Values = {}
    said = []
    for name, read in reads.items():
        try:
            values[name] = read()
        except SpatialprobeError as error:
            said.append(str(error))
    return values, "\n".join(said)


D, F, R = f"datasets/{DATASET}/", f"features/{DATASET}/", "runs/[0-9a-f]{16}/"
CLIP, STORE, PACKED = D + "clips/[^/]+/", F + "(?:raw|sealed)/[0-9a-f]{12}/", F + "packed/[0-9a-f]{12}/"
KINDS: dict[str, tuple[str, Callable[[Path, Path], Reading]]] = {
    "dataset.json": (D + r"dataset\.json", read_dataset),
    "manifest.json": (D + r"manifest\.json", read_dataset),
    "index": (D + r"index\.parquet", read_dataset),
    "frames": (D + r"frames\.parquet", read_dataset),
    "instances": (D + r"instances\.parquet", read_dataset),
    "plan": (D + r"queries/[^/]+\.json", read_dataset),
    "report of the rooms": (D + r"report\.json", read_dataset),
    "clip set aside": (D + r"quarantine/[^/]+\.json", read_dataset),
    "frame": (CLIP + r"frames/\d+\.jpg", read_clip),
    "frames of a clip": (CLIP + r"frames\.parquet", read_clip),
    "clip.json": (CLIP + r"clip\.json", read_clip),
    "dense metadata": (CLIP + r"gt\.zarr/(?:\w+/)?zarr\.json", read_clip),
    "dense truth": (CLIP + r"gt\.zarr/\w+/c/.*", read_clip),
    "shard": (STORE + r"features\.zarr/[^/]+/c\..*", read_store),
    "compressed shard": (PACKED + r"features\.zarr/[^/]+/c\..*", read_store),
    "store metadata": (F + r"\w+/[0-9a-f]{12}/features\.zarr/(?:[^/]+/)?zarr\.json", read_store),
    "store.json": (F + r"\w+/[0-9a-f]{12}/store\.json", read_store),
    "clip table": (F + r"\w+/[0-9a-f]{12}/clips\.parquet", read_store),
    "spare copies": (F + r"\w+/[0-9a-f]{12}/backup/.*", read_store),
    "commit record": (F + r"\w+/[0-9a-f]{12}/commits/.*", read_store),
    "channel statistics": (F + r"\w+/[0-9a-f]{12}/stats/.*", read_store),
    "store manifest": (F + r"\w+/[0-9a-f]{12}/manifest\.parquet", read_store),
    "clip of a store set aside": (F + r"\w+/[0-9a-f]{12}/quarantine/.*", read_store),
    "fit": (F + r"\w+/fitted/.*", read_views),
    "view record": (F + r".*\.view\.json", read_views),
    "results": (r"results/[0-9a-f]{16}\.json", read_runs),
    "table of results": (r"results/results\.parquet", read_runs),
    "memory of checks": (r"results/checked\.txt", read_runs),
    "run.json": (R + r"run\.json", read_runs),
    "config": (R + r"config\.yaml", read_runs),
    "log of a run": (R + r"log\.(?:csv|jsonl)", read_runs),
    "scores": (R + r"clips\.parquet", read_runs),
    "predictions": (R + r"predictions\.parquet", read_runs),
    "pictures": (R + r"(?:pictures|points)/.*", read_runs),
    "best.ckpt": (R + r"best\.ckpt", read_checkpoint),
    "last.ckpt": (R + r"last\.ckpt", read_checkpoint),
    "evaluation": (R + r"evaluations/.*\.json", read_evaluation),
    "log of an extraction": (r"logs/extract/.*", read_log),
    "kept tensor": (r"extract-cache/(?:prompts|latents)/.*", read_kept),
    "hash of weights": (r"extract-cache/hashes/.*", read_hashes),
}
"""Kind of file -> its paths below the root, and what reads it."""

UNREAD = {
    D + r"status\.parquet": "for people: what became of each clip in the last `prepare`",
    R + "predictions/.*": "output of `predict`, for people and other programs; made from files that are checked",
    "report/.*": "output of `report`; made again as soon as the time of change of one of its files differs",
    r"logs/[^/]+\.jsonl": "for people: what a command logged",
    r"weights\.safetensors": "stands for weights, which the hash in the fingerprint tells apart",
}
"""Files that nothing reads again for a number -> why."""


def files_of(root: Path, pattern: str) -> list[Path]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return [path for path in paths if re.fullmatch(pattern, path.relative_to(root).as_posix())]
