"""Every version reads what 0.2.0 wrote, from the dataset to the results, without running a backbone."""

from __future__ import annotations

import hashlib
import json
import tarfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.locate import locate_store
from cache.store import FeatureStore
from configs.cli import main
from data.dataset.queries import load_plan
from data.dataset.reader import PreparedDataset
from fusion.opening import open_source
from probe.config import EvaluateConfig, PredictConfig
from probe.report.runs.collect import collect
from probe.results.apply import evaluate, predict
from probe.results.survey import survey
from tests.frozen.make import PROBE

ARCHIVES = sorted(Path(__file__).parent.glob("*.tar.xz"))
RUNS = {"cb982d46a54c0543": "tagging", "4454effd59f18a3b": "geometry"}
FEATURES = {
    "pixels": "e866bfbdb780a75b17b1b3e8ed7c90a84a5ab99f325c20a946be195a2ff427c3",
    "position": "410dc9cff4017688b743dd5421ea45ae65b2c70878e1c84404383d4ed7c8dc61",
    "oracle-depth-rays": "7fd1d30877fb2480a46cc7ab7b1b5ba50bfd83c99792a49dac645fba71fea04f",
}
"""Source -> SHA-256 of its stored values, clip by clip, as little-endian float32."""
TRUTH = "4f1cdb5c23d1b4b1d8620a90679d7193fce2191ed81120db65a548b8e50476b5"
"""SHA-256 of the frames' bytes, depth, instances, cameras and queries of all clips."""


@pytest.fixture(params=ARCHIVES, ids=[path.name.removesuffix(".tar.xz") for path in ARCHIVES])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A private copy of what an earlier version wrote."""
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path


def command(stage: str, *words: str) -> int:
    """Run a command as it is typed."""
    return main(stage, "", import_module(f"{stage}.__main__").VERBS, list(words))


def values(store: FeatureStore) -> dict[str, np.ndarray[Any, Any]]:
    """All rows of the only array, clip by clip."""
    (name,) = store.arrays
    rows = range(store.arrays[name].rows)
    return {clip: store.read([(clip, name, rows)])[0].float().numpy() for clip in store.clips}


def test_archives_are_there_and_small() -> None:
    assert "0.2.0.tar.xz" in {path.name for path in ARCHIVES}
    assert all(path.stat().st_size <= 2_000_000 for path in ARCHIVES)


def test_dataset(root: Path) -> None:
    assert command("data", "verify", "dataset=toy", f"root={root}", "workers=1") == 0
    dataset = PreparedDataset.open("toy", root)
    plan = load_plan(dataset, "paper-2")
    found = hashlib.sha256()
    for clip in dataset.clips["clip_id"]:
        positions = [int(p) for p in dataset.positions(clip)]
        found.update(b"".join(dataset.frame_bytes(clip, position) for position in positions))
        found.update(dataset.depth(clip, positions).astype("<f4").tobytes())
        found.update(dataset.instance_maps(clip, positions).astype("<u2").tobytes())
        cameras = dataset.cameras(clip, positions)
        found.update(cameras.cam2world.astype("<f4").tobytes() + cameras.intrinsics.astype("<f4").tobytes())
        found.update(json.dumps([list(q) for q in plan.queries[clip]]).encode())
    assert found.hexdigest() == TRUTH


@pytest.mark.parametrize("source", FEATURES)
def test_stores(root: Path, source: str) -> None:
    assert command("cache", "verify", "dataset=toy", f"model={source}", f"root={root}") == 0
    store = FeatureStore.open(locate_store(root, "toy", source))
    found = hashlib.sha256()
    for clip, rows in values(store).items():
        found.update(clip.encode() + rows.astype("<f4").tobytes())
    assert found.hexdigest() == FEATURES[source]


def test_a_fused_view(root: Path) -> None:
    view = open_source(root, "toy", "pixels+position")
    parents = [values(FeatureStore.open(locate_store(root, "toy", name))) for name in ("pixels", "position")]
    (name,) = view.arrays
    for clip in view.clips:
        fused = view.read([(clip, name, range(view.arrays[name].rows))])[0].float().numpy()
        expected = [
            (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
            for x in (p[clip] for p in parents)
        ]
        np.testing.assert_allclose(fused, np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-5)


def test_a_finished_extraction_is_found(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / "features").rglob("*") if path.is_file()}
    assert command("extract", "run", "model=pixels", "dataset=toy", "grid=4x4", "workers=1", f"root={root}") == 0
    assert {path: path.read_bytes() for path in (root / "features").rglob("*") if path.is_file()} == before


def test_runs_are_whole_and_current(root: Path) -> None:
    there = survey(str(root))
    assert {result["run_id"]: result["task"] for result in there.whole} == RUNS and not there.left_out
    found = collect(str(root))
    assert {run.run_id for run in found.runs} == set(RUNS) and not found.stale and not found.gaps
    assert command("probe", "report", f"root={root}", "resamples=50") == 0


@pytest.mark.parametrize("run", RUNS)
def test_kept_weights_give_the_kept_scores(root: Path, run: str) -> None:
    (result,) = [result for result in survey(str(root)).whole if result["run_id"] == run]
    again = evaluate(EvaluateConfig(run=run, root=str(root), device="cpu", resamples=50))
    assert result["report"]
    for metric, kept in result["report"].items():
        if metric == "chance_map":  # of 0.2.0; random_map takes its place
            continue
        now, then = again["metrics"][metric]["value"], kept["value"]  # intervals are those of the version that asks
        assert now == then or now == pytest.approx(then, rel=1e-3, abs=1e-4), metric  # processors round differently
    folder = predict(PredictConfig(run=run, root=str(root), device="cpu"))
    assert (folder / "predictions.parquet").is_file()


def test_finished_runs_are_found(root: Path) -> None:
    """The same command asks for the same run: what was trained on all clips keeps its id, and isn't trained again."""
    before = {path: path.read_bytes() for path in (root / "runs").rglob("*") if path.is_file()}
    tagging, geometry = ("model=pixels", "head.width=16"), ("model=pixels+position", "dpt.features=8")
    for task, words in (("tagging", tagging), ("geometry", geometry)):
        assert command("probe", "train", f"task={task}", *words, *PROBE, f"root={root}") == 0
    assert {path.stem for path in (root / "results").glob("*.json")} == set(RUNS)
    assert {path: path.read_bytes() for path in (root / "runs").rglob("*") if path.is_file()} == before
