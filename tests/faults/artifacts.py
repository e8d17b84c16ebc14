"""A small artifact root with every kind of file that the project writes, made in seconds without a backbone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from cache.care.seal import seal
from configs.cli import main
from configs.errors import DatasetError
from configs.loader import resolve
from data.dataset.clip import Clip
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.rooms.report import store_report
from data.rooms.source import RoomsSource
from extract.job.extraction import save_log
from extract.job.runner import Record
from extract.video.kept import kept
from extract.weights.hashes import SETTLED_S, file_hashes
from fusion.__main__ import VERBS
from fusion.opening import open_source
from probe.config import EvaluateConfig, PredictConfig, read_run
from probe.inputs.inputs import RememberingDataset
from probe.report.config import ReportConfig
from probe.report.write import make_report
from probe.results.apply import evaluate, predict
from probe.train.train import train
from tests.dataset_stores import make_store, noise_maps
from tests.probe.networks import TINY

DATASET, PLAN = "rooms", "paper-2"
RAW, PACKED, SEALED = "raw", "packed", "sealed"
FUSED = (f"{RAW}+{PACKED}@pca4", f"{RAW}+{PACKED}@zscore")
TASKS = ("tagging", "geometry")


class Rooms(RoomsSource):
    """Eight rooms, the last of which can't be made."""

    def __init__(self) -> None:
        super().__init__(RoomsConfig(dataset=DATASET, clips=8, height=32, width=48, render="query"))

    def make(self, clip_id: str) -> Clip:
        if clip_id == self.clip_ids()[-1]:
            raise DatasetError("broken on purpose", where=clip_id)
        return super().make(clip_id)


def options(schema: type, root: Path, **values: Any) -> Any:
    return resolve(schema, [], {"root": str(root), **values})


def make_artifacts(root: Path) -> None:
    """Fill an artifact root: one dataset, three stores, a fused view, two runs that were applied again, caches."""
    weights = root / "weights.safetensors"
    root.mkdir(parents=True, exist_ok=True)
    weights.write_bytes(bytes(1000))
    written = time.monotonic()

    dataset_folder = root / "datasets" / DATASET
    status = dataset_folder / "status.parquet"
    prepare(Rooms(), dataset_folder, plans=(PLAN,), workers=1, allowed_failures=1, status_file=status)
    store_report(dataset_folder)
    dataset = RememberingDataset(dataset_folder)

    make_store(root, dataset, RAW, {None: noise_maps()})
    make_store(root, dataset, PACKED, {1: noise_maps(6)}, compression="zstd")
    sealed = make_store(root, dataset, SEALED, {1: noise_maps(2), 2: noise_maps(4)})
    sealed.quarantine(next(iter(sealed.clips)), "set aside, to be flipped too")
    seal(sealed.backend, sealed.board)
    for name in FUSED:
        assert main("fusion", "", VERBS, ["fuse", f"model={name}", f"dataset={DATASET}", f"root={root}"]) == 0
        open_source(root, DATASET, name)

    for task in TASKS:
        head = {"head.width": "16"} if task == "tagging" else {"dpt.features": "8"}
        words = {"task": task, "root": str(root), "dataset": DATASET, "model": RAW, "profile": "debug"}
        train(read_run({**words, **TINY, **head, "pictures": "1"}))
        run = next(path.parent.name for path in (root / "runs").glob("*/run.json") if _task(path) == task)
        evaluate(options(EvaluateConfig, root, run=run, device="cpu", resamples="20"))
        predict(options(PredictConfig, root, run=run, device="cpu", pictures="1"))
    make_report(options(ReportConfig, root, resamples="20"))

    save_log([Record("room00000", "done", read_seconds=1.5)], str(root), f"20260101-000000-{RAW}-1", 1000)
    cache = root / "extract-cache"
    kept(cache / "prompts", ["prompt"], prompt)
    kept(cache / "latents", ["latents"], latents, spread=True)
    time.sleep(max(0.0, SETTLED_S + 0.1 - (time.monotonic() - written)))
    file_hashes([weights], cache / "hashes")


def _task(path: Path) -> str:
    import json

    return str(json.loads(path.read_text())["task"])


def prompt() -> torch.Tensor:
    return torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(0))


def latents() -> torch.Tensor:
    return torch.randn(1, 4, 3, 4, 6, generator=torch.Generator().manual_seed(1)).bfloat16()
