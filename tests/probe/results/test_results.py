"""Results files, the compacted table, and finished runs applied again."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from configs.cli import main
from configs.errors import ConfigError, CorruptionError, MissingError, StaleError, StoreError
from configs.files import write_atomic
from configs.loader import resolve
from configs.names import parse_name
from data.dataset.clip import DatasetInfo
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from fusion.__main__ import VERBS as FUSION_VERBS
from fusion.opening import view_by_name
from fusion.views.ops import Projection
from fusion.views.view import FusedView
from probe import pictures
from probe.config import EvaluateConfig, PredictConfig, RunsConfig
from probe.inputs.inputs import RememberingDataset
from probe.metrics.score import ClipScore
from probe.metrics.scores import Scores
from probe.results import results, survey
from probe.results.apply import _Applied, evaluate, predict
from probe.results.results import find_run
from probe.results.runs import print_results, print_runs
from probe.train.train import train
from tests.data.toy import ToySource
from tests.dataset_stores import make_store, noise_maps
from tests.probe.conftest import toy_shapes

Configure = Callable[..., Any]


def options(schema: type, root: Path, **values: Any) -> Any:
    return resolve(schema, [], {"root": str(root), "device": "cpu", "resamples": "20", **values})


def test_undefined_values_and_intervals_are_null(tmp_path: Path) -> None:
    scores = Scores(
        ["a", "b"], [ClipScore({"x": 1.0, "y": math.nan}), ClipScore({"x": 3.0, "y": math.nan}, undefined={"y": "why"})]
    )
    found = scores.summary({"a": "room", "b": "room"}, 20)
    assert found["x"] == {
        "value": 2.0, "estimate": 2.0, "low": None, "high": None, "n": 2, "undefined": 0,
        "reasons": {"no interval: fewer than 12 rooms: 1": 1},
    }  # fmt: skip
    assert found["y"]["value"] is None and found["y"]["undefined"] == 2
    assert b"NaN" not in results.to_json({"x": math.nan, "y": [math.inf]})
    names = [f"clip{i:02d}" for i in range(12)]
    many = Scores(names, [ClipScore({"x": float(i)}) for i in range(12)]).summary({name: name for name in names}, 50)
    assert many["x"]["low"] < many["x"]["estimate"] == many["x"]["value"] == 5.5 < many["x"]["high"]


def test_table_is_compacted_from_all_runs(trained: Path, configure: Configure, capsys: Any) -> None:
    found = [train(configure(trained, task))[0] for task in ("tagging", "instance", "geometry")]
    table = pd.read_parquet(trained / "results" / "results.parquet").set_index("run_id")
    assert set(table.index) == {r["run_id"] for r in found}
    assert table.loc[found[0]["run_id"], "report.map"] == found[0]["report"]["map"]["value"]
    assert np.isnan(table.loc[found[1]["run_id"], "report.map"])
    (trained / "results" / "results.parquet").unlink()
    survey.compact(str(trained))
    assert pd.read_parquet(trained / "results" / "results.parquet").shape == table.reset_index().shape
    print_results(found[:2], str(trained))
    print_runs(resolve(RunsConfig, [], {"root": str(trained), "task": "instance"}))
    printed = capsys.readouterr().out
    assert "T-mIoU" in printed and found[1]["run_id"] in printed


def test_damaged_results_file_is_told(trained: Path, configure: Configure) -> None:
    (result,) = train(configure(trained, "tagging"))
    path = results.result_file(str(trained), result["run_id"])
    path.write_text(path.read_text()[:100])
    with pytest.raises(CorruptionError, match="results file"):
        train(configure(trained, "tagging"))
    path.unlink()
    (again,) = train(configure(trained, "tagging"))  # weights are still there: evaluated, not trained
    assert again["report"] == result["report"]


def test_evaluate_reproduces_the_report_and_keeps_it(trained: Path, configure: Configure) -> None:
    (result,) = train(configure(trained, "instance"))
    config = options(EvaluateConfig, trained, run=result["run_id"][:6], resamples="50")
    first = evaluate(config)
    assert first["metrics"] == result["report"]
    path = next((trained / "runs" / result["run_id"] / "evaluations").iterdir())
    stamp = path.stat().st_mtime_ns
    assert evaluate(config) == first and path.stat().st_mtime_ns == stamp
    other = evaluate(options(EvaluateConfig, trained, run=result["run_id"], variant="paper", plan="paper-3"))
    assert other["plan"] == "paper-3" and other["metrics"] != first["metrics"]


def test_evaluate_uses_the_projection_of_training(
    own_artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = train(configure(own_artifacts, "tagging", model="speckle@pca3", resamples=20))

    def refit(*given: Any) -> None:
        raise AssertionError("the clips of the split may be too few to fit a projection")

    monkeypatch.setattr("fusion.views.fit.Fitter.principal_axes", refit)
    again = evaluate(options(EvaluateConfig, own_artifacts, run=result["run_id"]))
    assert again["metrics"] == result["report"]


@pytest.fixture
def two_datasets(own_artifacts: Path) -> Path:
    """A root with `speckle` on `toy`, and on `other`, whose clips show something else."""

    class Other(ToySource):
        @property
        def info(self) -> DatasetInfo:
            return dataclasses.replace(super().info, name="other")

    path = own_artifacts / "datasets" / "other"
    prepare(Other(toy_shapes(), seed=1), path, plans=("paper-2",), workers=1)

    def skewed(dataset: PreparedDataset, clip_id: str) -> np.ndarray:
        return np.asarray(3 * noise_maps()(dataset, "other " + clip_id) ** 3)

    make_store(own_artifacts, RememberingDataset(path), "speckle", {None: skewed})
    return own_artifacts


@pytest.mark.parametrize("variant", ["pca3", "zscore", "random3"])
@pytest.mark.parametrize("how", ["on the fly", "recorded", "materialised"])
def test_another_dataset_is_read_through_the_fits_of_training(
    two_datasets: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch, variant: str, how: str
) -> None:
    """Principal directions and scales of other clips are other features than those that the probe has learnt."""
    root, name = two_datasets, f"speckle@{variant}"
    if how != "on the fly":
        words = ["fuse", f"model={name}", "dataset=toy", f"materialise={str(how == 'materialised').lower()}"]
        assert main("fusion", "", FUSION_VERBS, [*words, f"root={root}"]) == 0
    (result,) = train(configure(root, "tagging", dataset="toy", model=name, resamples=20))

    def refit(*given: Any) -> None:
        raise AssertionError("fitted again")

    for fit in ("principal_axes", "statistics") if variant == "pca3" else ("principal_axes",):
        monkeypatch.setattr(f"fusion.views.fit.Fitter.{fit}", refit)
    monkeypatch.setattr("cache.source.FeatureSource.statistics", refit)
    asked = options(EvaluateConfig, root, run=result["run_id"], dataset="other")
    assert evaluate(asked)["dataset"] == "other"

    here = view_by_name(root, "toy", parse_name(name))
    there = _Applied(asked, result).inputs.layers[0].store
    assert isinstance(there, FusedView) and there.dataset == "other"
    (one,), (two,) = (view.fused[result["array"]].branches for view in (here, there))
    for part in ("normalise", "project"):
        ours, theirs = vars(getattr(one, part) or ONE), vars(getattr(two, part) or ONE)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    if variant != "random3":
        assert there.fingerprint["fitted_on"] == result["store"]
        monkeypatch.undo()
        refitted = view_by_name(root, "other", parse_name(name))
        assert refitted.fingerprint_digest != there.fingerprint_digest
        item = [("room_10", result["array"], [0])]
        assert not np.allclose(np.asarray(refitted.read(item)[0]), np.asarray(there.read(item)[0]), atol=0.1)


ONE = Projection(torch.eye(1))  # in the place of a part that a branch doesn't have


def test_features_made_in_another_way_are_refused(two_datasets: Path, configure: Configure) -> None:
    root = two_datasets
    (result,) = train(configure(root, "tagging", dataset="toy", model="speckle@pca3", resamples=20))
    shutil.rmtree(root / "features" / "other" / "speckle")
    other = RememberingDataset(root / "datasets" / "other")
    make_store(root, other, "speckle", {None: noise_maps(), 1: noise_maps()})
    asked = options(EvaluateConfig, root, run=result["run_id"], dataset="other")
    with pytest.raises(StoreError, match=r"speckle was made in another way on other than on toy(?s:.*)maps: 1 -> 2"):
        evaluate(asked)


def test_another_dataset_needs_the_unchanged_one_of_training(two_datasets: Path, configure: Configure) -> None:
    (result,) = train(configure(two_datasets, "tagging", dataset="toy", resamples=20))
    asked = options(EvaluateConfig, two_datasets, run=result["run_id"], dataset="other")
    assert evaluate(asked)["dataset"] == "other"
    shutil.rmtree(two_datasets / "datasets" / "toy")
    prepare(ToySource(toy_shapes(), seed=7), two_datasets / "datasets" / "toy", plans=("paper-2",), workers=1)
    with pytest.raises(StaleError, match=r"was trained on has changed since(?s:.*)seed: 0 -> 7"):
        evaluate(asked)


def test_predict_writes_tables_and_pictures(trained: Path, configure: Configure) -> None:
    (result,) = train(configure(trained, "geometry"))
    folder = predict(options(PredictConfig, trained, run=result["run_id"], clips="room_10", pictures="1"))
    table = pd.read_parquet(folder / "predictions.parquet")
    assert list(table["clip_id"]) == ["room_10"] and len(table["depth"][0]) == math.prod(table["shape"][0])
    assert {p.name for p in (folder / "pictures").iterdir()} == {"room_10.png", "room_10-above.png"}
    with pytest.raises(MissingError, match="room_00"):
        predict(options(PredictConfig, trained, run=result["run_id"], clips="room_00"))


def test_runs_are_found_by_their_first_digits(trained: Path, configure: Configure) -> None:
    (result,) = train(configure(trained, "instance"))
    assert find_run(str(trained), result["run_id"][:10]) == result
    with pytest.raises(MissingError, match="several"):
        find_run(str(trained), "")
    with pytest.raises(MissingError, match="no finished run"):
        find_run(str(trained), "xyz")


def test_unfinished_runs_are_listed(trained: Path, configure: Configure, capsys: Any) -> None:
    (result,) = train(configure(trained, "tagging"))
    results.result_file(str(trained), result["run_id"]).unlink()
    print_runs(resolve(RunsConfig, [], {"root": str(trained), "unfinished": "true"}))
    assert f"{result['run_id']}  tagging" in capsys.readouterr().out


def test_unfinished_runs_are_filtered(trained: Path, configure: Configure, capsys: Any) -> None:
    for task in ("tagging", "instance"):
        (result,) = train(configure(trained, task))
        results.result_file(str(trained), result["run_id"]).unlink()
    print_runs(resolve(RunsConfig, [], {"root": str(trained), "unfinished": "true", "task": "instance"}))
    printed = capsys.readouterr().out
    assert "1 unfinished runs" in printed and "  instance  " in printed and "tagging" not in printed


def test_table_misses_no_run_that_another_process_adds(
    trained: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    (result,) = train(configure(trained, "tagging"))
    path = results.result_file(str(trained), result["run_id"])
    content = path.read_bytes()
    path.unlink()

    def meanwhile(target: Path, table: bytes) -> None:
        write_atomic(target, table)
        if not path.is_file():
            path.write_bytes(content)

    monkeypatch.setattr(survey, "write_atomic", meanwhile)
    table = survey.compact(str(trained))
    assert table is not None and result["run_id"] in set(pd.read_parquet(table)["run_id"])


def test_missing_logger_is_told(artifacts: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match="wandb"):
        train(configure(artifacts, "tagging", loggers="wandb"))


def test_pictures(tmp_path: Path) -> None:
    colours = pictures.ramp(np.array([[0.0, 1.0, np.nan]]), 0, 1)
    assert colours[0, 0].tolist() == [48, 18, 59] and colours[0, 1].tolist() == [122, 4, 3]
    assert colours[0, 2].tolist() == [0, 0, 0]
    labels = pictures.label_colours(np.array([-1, 0, 1, 2]))
    assert labels[0].tolist() == [0, 0, 0] and len({tuple(row) for row in labels.tolist()}) == 4
    points = np.array([[0.0, 1, 2], [np.nan, 0, 0], [3, 4, 5]])
    pictures.write_ply(tmp_path / "a.ply", points, np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], np.uint8))
    data = (tmp_path / "a.ply").read_bytes()
    head, body = data.split(b"end_header\n")
    assert b"element vertex 2" in head and len(body) == 2 * 15
    assert np.frombuffer(body[15:27], "<f4").tolist() == [3, 4, 5] and list(body[27:]) == [7, 8, 9]
    above = pictures.seen_from_above("t", {"p": (points, np.zeros((3, 3), np.uint8))}, {"c": (points[:1], "red")})
    pictures.save(above, tmp_path / "b.png")
    bars = pictures.bars("t", [("x", 0.5, 0.2), ("y", None, None)])
    assert Image.open(tmp_path / "b.png").size == above.size and bars.height > 40
