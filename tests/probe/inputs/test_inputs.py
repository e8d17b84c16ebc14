"""What is checked before the first step: store, arrays, dataset, splits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs import commands
from configs.errors import ConfigError, CorruptionError, DatasetError, MissingError, StoreError
from data.prepare.prepare import prepare
from probe.config import EvaluateConfig
from probe.inputs.inputs import RememberingDataset, open_inputs
from probe.results.apply import evaluate
from probe.train.train import train
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps

Configure = Callable[..., Any]


def small(tmp_path: Path, shapes: dict[str, Shape], clips: list[str] | None = None) -> Path:
    """Artifact root with one dataset `toy` and one store `speckle`."""
    root = tmp_path / "small"
    prepare(ToySource(shapes), root / "datasets" / "toy", plans=(), workers=1)
    make_store(root, RememberingDataset(root / "datasets" / "toy"), "speckle", {None: noise_maps()}, clips)
    return root


def shapes(**splits: str) -> dict[str, Shape]:
    return {name: Shape(query_only=True, split=split) for name, split in splits.items()}


def test_only_store_is_found_and_several_are_listed(artifacts: Path, tmp_path: Path, configure: Configure) -> None:
    config = configure(artifacts, "tagging", model="")
    with pytest.raises(StoreError, match="several") as several:
        train(config)
    assert "speckle" in str(several.value) and "deep" in str(several.value)
    root = small(tmp_path, shapes(a="train", b="train", c="select", d="report"))
    (result,) = train(configure(root, "tagging", model=""))
    assert (result["source"], result["dataset"]) == ("speckle", "toy")


def test_no_store_at_all(tmp_path: Path, configure: Configure) -> None:
    with pytest.raises(MissingError, match="no feature store"):
        train(configure(tmp_path, "tagging", model=""))


def test_arrays_are_chosen_by_block_or_name(artifacts: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match="several arrays") as several:
        train(configure(artifacts, "tagging", model="deep"))
    assert "deep.b1.4x4" in str(several.value)
    with pytest.raises(ConfigError, match="no layer '7'"):
        train(configure(artifacts, "tagging", model="deep", layers="7"))
    (result,) = train(configure(artifacts, "tagging", model="deep", layers="deep.b2.4x4"))
    assert (result["block"], result["relative_depth"]) == (2, 1.0)


@pytest.mark.parametrize("queries", [4, 40])
def test_refused_queries_leave_no_plan_behind(tmp_path: Path, configure: Configure, queries: int) -> None:
    """Of four clips one is too short for 4 queries, all are for 40."""
    known = shapes(a="train", b="train", c="select", d="report")
    root = small(tmp_path, known | {"b": Shape(10, query_only=True, split="train")})
    config = configure(root, "tagging", recipe__queries=queries)
    with pytest.raises(MissingError, match=rf"can't give the queries of plan paper-{queries}(?s:.*)recipe\.queries="):
        train(config)
    assert not list((root / "datasets/toy/queries").iterdir())


def test_a_plan_is_frozen_when_it_is_first_used(tmp_path: Path, configure: Configure) -> None:
    root = small(tmp_path, shapes(a="train", b="train", c="select", d="report"))
    (result,) = train(configure(root, "tagging"))
    (frozen,) = (root / "datasets/toy/queries").iterdir()
    assert frozen.name.startswith("paper-2.")
    evaluate(EvaluateConfig(run=result["run_id"], root=str(root), plan="uniform-3"))
    assert {path.name.partition(".")[0] for path in frozen.parent.iterdir()} == {"paper-2", "uniform-3"}
    frozen.write_bytes(frozen.read_bytes().replace(b"[[0, ", b"[[1, ", 1))
    for step in (
        lambda: train(configure(root, "tagging", force="true")),
        lambda: evaluate(EvaluateConfig(run=result["run_id"], root=str(root), split="select")),
    ):
        with pytest.raises(CorruptionError, match=rf"changed by hand or damaged(?s:.*)delete {frozen}"):
            step()


def test_every_clip_without_features_is_listed(tmp_path: Path, configure: Configure) -> None:
    root = small(tmp_path, shapes(a="train", b="train", c="select", d="report", e="report"), clips=["a", "c", "d"])
    with pytest.raises(MissingError) as error:
        train(configure(root, "tagging"))
    assert "2 clips are not in the store: b, e" in str(error.value)


def test_uncommitted_clips_are_listed(own_artifacts: Path, configure: Configure) -> None:
    from cache.locate import locate_store
    from cache.store import FeatureStore

    store = FeatureStore.open(locate_store(own_artifacts, "toy", "speckle"))
    for clip_id in ("room_02", "room_07"):
        for path in Path(store.where).rglob(f"*{store.clip_index(clip_id):08d}*"):
            if "commit" in str(path) and path.is_file():
                path.unlink()
    with pytest.raises(MissingError) as error:
        train(configure(own_artifacts, "tagging"))
    assert "2 clips have no features in speckle.4x4: room_02, room_07" in str(error.value)
    assert "model=speckle dataset=toy grid=4x4 fills the gaps" in str(error.value)


def test_clips_without_labels_are_listed(tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    root = small(tmp_path, shapes(a="train", b="train", c="select", d="report"))
    original = RememberingDataset.__init__

    def unlabelled(self: RememberingDataset, path: Any) -> None:
        original(self, path)
        self.clips.loc[["b", "d"], "has_instance"] = False

    monkeypatch.setattr(RememberingDataset, "__init__", unlabelled)
    with pytest.raises(MissingError) as error:
        train(configure(root, "instance"))
    assert "2 clips have no ground truth for instance: b, d" in str(error.value)


def test_dataset_without_any_ground_truth_for_the_task(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said first: nothing that concerns splits or clips would help."""
    root = small(tmp_path, shapes(a="train", b="train"))
    original, lacking = RememberingDataset.__init__, ["has_instance"]

    def unlabelled(self: RememberingDataset, path: Any) -> None:
        original(self, path)
        self.clips[lacking] = False

    monkeypatch.setattr(RememberingDataset, "__init__", unlabelled)
    with pytest.raises(MissingError, match="no clip of this dataset has ground truth for instance") as error:
        train(configure(root, "instance"))
    assert "ground truth for geometry, tagging" in str(error.value)
    assert commands.probe("train", task="geometry", dataset="toy") in str(error.value)
    lacking += ["has_tags", "has_depth"]
    with pytest.raises(MissingError, match="frames alone"):
        train(configure(root, "instance"))


def test_store_of_another_dataset(artifacts: Path, configure: Configure) -> None:
    store = next(path for path in (artifacts / "features" / "toy" / "speckle").iterdir())
    with pytest.raises(StoreError, match="another dataset"):
        train(configure(artifacts, "tagging", store=store, dataset="rooms"))


def test_empty_split(tmp_path: Path, configure: Configure) -> None:
    root = small(tmp_path, shapes(a="train", b="train", c="report"))
    with pytest.raises(DatasetError, match="no clips in split select"):
        train(configure(root, "tagging"))
    (result,) = train(configure(root, "tagging", split_scheme="paper"))  # one validation set for both
    assert result["clips"] == {"train": 2, "select": 1, "report": 1}


def test_one_clip_per_split(tmp_path: Path, configure: Configure) -> None:
    root = small(tmp_path, shapes(a="train", b="select", c="report"))
    for task in ("tagging", "instance", "geometry"):
        (result,) = train(configure(root, task))
        row = result["report"]["loss"]
        assert row["value"] is not None and row["low"] is None and row["high"] is None
        assert any(reason.startswith("no interval: fewer than") for reason in row["reasons"])
    before = set((root / "runs").iterdir())
    with pytest.raises(DatasetError, match="two clips or more"):
        train(configure(root, "tagging", control=True, seeds=5))
    assert set((root / "runs").iterdir()) == before  # told before anything is trained


def test_ground_truth_of_several_sizes(tmp_path: Path, configure: Configure) -> None:
    mixed = shapes(a="train", b="train", c="select", d="report")
    mixed["b"] = Shape(query_only=True, split="train", gt_size=(28, 50))
    with pytest.raises(DatasetError, match="several sizes"):
        train(configure(small(tmp_path, mixed), "geometry"))


def test_remembered_ground_truth_is_the_same(artifacts: Path) -> None:
    from data.dataset.reader import PreparedDataset

    plain = PreparedDataset.open("toy", artifacts)
    kept = RememberingDataset.open("toy", artifacts)
    for queries in ((0, 1, 5), (73, 9), (5,)):
        for _ in range(2):
            assert (kept.depth("room_00", queries) == plain.depth("room_00", queries)).all()
            assert (kept.instance_maps("room_00", queries) == plain.instance_maps("room_00", queries)).all()


def test_plan_is_the_same_for_all_models(artifacts: Path, configure: Configure) -> None:
    from probe.config import resolved
    from probe.task import load_task

    opened = [
        open_inputs(resolved(configure(artifacts, "tagging", model=model, layers="all")), load_task("tagging"))[0]
        for model in ("speckle", "deep")
    ]
    assert opened[0].plan.sha256 == opened[1].plan.sha256 and opened[0].plan.queries == opened[1].plan.queries
