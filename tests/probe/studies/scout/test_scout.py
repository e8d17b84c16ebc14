"""Scouts rank arrays by what they hold, read each once, and never look at the report split."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import eigh

from cache.store import FeatureStore
from configs.cli import main
from configs.errors import ConfigError, CorruptionError, NonFiniteError
from data.dataset.clip import Clip
from data.prepare.prepare import prepare
from probe.__main__ import VERBS
from probe.inputs.inputs import RememberingDataset
from probe.scouting import load_scout
from probe.studies.scout.config import ScoutConfig
from probe.studies.scout.scout import PENALTIES, Scouting, scout, train_commands
from probe.task import load_task
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import Maps, make_store, noise_maps, oracle_maps

SPLITS = ["train"] * 12 + ["select"] * 6 + ["report"] * 3
TASKS = ("tagging", "instance", "geometry")
GRID = (4, 5)
ANSWERS = {"tagging": ("classes",), "instance": ("code",), "geometry": ("depth",)}
GRIDS = {"tagging": GRID, "instance": (16, 20), "geometry": GRID}
"""Squares of the toy's wall are smaller than the cells of the coarse grid."""


class VariedSource(ToySource):
    """Toy clips of which every other one lacks the armchair, with a depth of its own for every cell."""

    def make(self, clip_id: str) -> Clip:
        clip = super().make(clip_id)
        number = int(clip_id[-2:])
        depth = np.random.default_rng(number).uniform(1, 6, (len(clip.gt_frames), *GRID))
        varied = dataclasses.replace(clip, depth=np.kron(depth, np.ones((8, 8))).astype(np.float32))
        if number % 2:
            return varied
        assert clip.class_pixels is not None
        counts = clip.class_pixels.copy()
        counts[:, 0] += counts[:, 4]
        counts[:, 4] = 0
        walls = [dataclasses.replace(one, class_index=0) if one.id == 2 else one for one in clip.instances]
        return dataclasses.replace(varied, instances=walls, class_pixels=counts)


def shifted(make: Maps, clip_ids: Sequence[str], value: float) -> Maps:
    """The same maps, with a value added in some clips."""
    return lambda dataset, clip_id: make(dataset, clip_id) + np.float32(value if clip_id in clip_ids else 0)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset `toy`, and for each task a store of blocks 1 (noise), 2 (the answer) and 3 (the answer with noise)."""
    root = tmp_path_factory.mktemp("scout")
    shapes = {f"room_{i:02d}": Shape(query_only=True, split=split) for i, split in enumerate(SPLITS)}
    prepare(VariedSource(shapes), root / "datasets" / "toy", plans=("paper-4",), workers=1)
    dataset = RememberingDataset(root / "datasets" / "toy")
    for task, groups in ANSWERS.items():
        grid = GRIDS[task]
        answer, blurred = oracle_maps(groups, grid), oracle_maps(groups, grid, noise=2.0)
        make_store(root, dataset, f"for-{task}", {1: noise_maps(6, grid), 2: answer, 3: blurred})
    return root


@pytest.fixture
def own(varied: Path, tmp_path: Path) -> Path:
    """A private copy that may be damaged."""
    shutil.copytree(varied, tmp_path / "own")
    return tmp_path / "own"


def scouted(root: Path, task: str, **options: Any) -> Scouting:
    given = {"model": [f"for-{task}"], "queries": 4, "pixels": 100, "root": str(root)}
    return scout(ScoutConfig(task=task, **{**given, **options}))


def named(task: str, block: int = 2) -> str:
    return f"for-{task}.b{block}.{GRIDS[task][0]}x{GRIDS[task][1]}"


def numbers(found: Scouting) -> list[Any]:
    return [(one.layer.array.name, one.penalty, one.curve, dict(one.values)) for one in found.arrays]


@pytest.mark.parametrize("task", TASKS)
def test_the_answer_ranks_first_and_noise_last(varied: Path, task: str) -> None:
    found = scouted(varied, task)
    assert [one.layer.array.block for one in found.arrays] == [2, 3, 1]
    best, _, worst = [next(iter(one.values.values())) for one in found.arrays]
    assert {one.clips for one in found.arrays} == {6}
    if task == "tagging":
        assert best == 1.0 and all(one.rows == 12 for one in found.arrays)
    elif task == "instance":
        assert best > 0.95 and abs(worst - 0.5) < 0.1
    else:
        assert best < 0.01 and worst > 0.3 and found.arrays[0].values["r2"] > 0.999 > 0.1 > found.arrays[2].values["r2"]


@pytest.mark.parametrize("task", TASKS)
def test_one_decomposition_per_array(varied: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def counted(matrix: Any, **options: Any) -> Any:
        sizes.append(len(matrix))
        return eigh(matrix, **options)

    monkeypatch.setattr("probe.studies.scout.ridge.eigh", counted)
    found = scouted(varied, task)
    assert len(sizes) == len(found.arrays) == 3
    assert sorted(sizes) == sorted(min(one.rows, one.layer.array.channels) for one in found.arrays)
    assert [one.dual for one in found.arrays] == [one.rows < one.layer.array.channels for one in found.arrays]


@pytest.mark.parametrize("task", TASKS)
def test_the_same_bits_again_and_beside_others(varied: Path, task: str) -> None:
    found = numbers(scouted(varied, task))
    assert found == numbers(scouted(varied, task))
    assert scouted(varied, task, layers=["2"]).arrays[0].curve == {f[0]: f[2] for f in found}[named(task)]


def poison(root: Path, split: str) -> int:
    """Overwrite features, frames and dense ground truth of a split's clips with other bytes; return how many files."""
    dataset = RememberingDataset(root / "datasets" / "toy")
    place = {clip_id: number for number, clip_id in enumerate(dataset.clips["clip_id"])}
    count = 0
    for clip_id in dataset.split(split):
        folder = root / "datasets" / "toy" / "clips" / clip_id
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != "clip.json"]
        shards = list((root / "features").rglob(f"c.{place[clip_id]}.0.0.0.0"))
        assert len(shards) == 9 and any("gt.zarr" in path.parts for path in files)
        for path in (*files, *shards):
            path.write_bytes(b"\xff" * path.stat().st_size)
            count += 1
    return count


@pytest.mark.parametrize("task", TASKS)
def test_the_report_split_changes_no_bit(own: Path, task: str) -> None:
    before = numbers(scouted(own, task))
    assert poison(own, "report") > 3 * 20
    assert numbers(scouted(own, task)) == before


@pytest.mark.parametrize("split", ["train", "select"])
def test_the_poison_would_be_found(own: Path, split: str) -> None:
    poison(own, split)
    with pytest.raises(CorruptionError):
        scouted(own, "geometry")


def test_features_of_the_report_split_needn_t_exist(varied: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "features").mkdir(parents=True)
    (root / "datasets").symlink_to(varied / "datasets")
    dataset = RememberingDataset(root / "datasets" / "toy")
    held = [*dataset.split("train"), *dataset.split("select")]
    make_store(root, dataset, "for-geometry", {2: oracle_maps(("depth",), GRID)}, clips=held)
    found = scouted(root, "geometry", layers=["2"])
    assert found.arrays[0].curve == scouted(varied, "geometry", layers=["2"]).arrays[0].curve


def test_select_picks_the_penalty_but_is_not_fitted(varied: Path, tmp_path: Path) -> None:
    """Another offset of all select features changes nothing where clips are centred, and the training rows neither."""
    root = tmp_path / "root"
    (root / "features").mkdir(parents=True)
    (root / "datasets").symlink_to(varied / "datasets")
    dataset = RememberingDataset(root / "datasets" / "toy")
    maps = shifted(oracle_maps(("depth",), GRID), dataset.split("select"), 4.0)
    make_store(root, dataset, "for-geometry", {2: maps})
    (found,) = scouted(root, "geometry").arrays
    (wanted,) = scouted(varied, "geometry", layers=["2"]).arrays
    assert found.rows == wanted.rows and found.curve == pytest.approx(wanted.curve, rel=1e-4, abs=1e-6)


def test_nan_features_are_named(varied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store takes none, but a fusion can make them."""
    original = FeatureStore._read

    def damaged(self: FeatureStore, items: Any, out: Any, allow_partial: bool) -> Any:
        found: Any = original(self, items, out, allow_partial)
        return found * np.nan if items[0][0] == "room_03" else found

    monkeypatch.setattr(FeatureStore, "_read", damaged)
    with pytest.raises(NonFiniteError, match=r"room_03[^\n]*for-geometry.b1"):
        scouted(varied, "geometry")


def call(*words: str) -> int:
    return main("probe", "", VERBS, words)


def test_the_command_prints_ranks_and_what_to_train(
    varied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "table.json"
    words = ("task=geometry", "queries=4", f"root={varied}", f"out={out}", "best=2")
    assert call("scout", "model=for-geometry for-tagging", *words) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert lines[3].split()[:3] == ["1", "for-geometry", "for-geometry.b2.4x5"]
    found = scouted(varied, "geometry", model=["for-geometry", "for-tagging"], pixels=512, best=2)
    (command,) = train_commands(found, ScoutConfig(task="geometry", root=str(varied), best=2))
    assert command in printed and "probe sweep task=geometry model=for-geometry dataset=toy" in command
    assert f"layers=for-geometry.b2.4x5,{found.arrays[1].layer.array.name}" in command
    table = json.loads(out.read_text(encoding="utf-8"))
    assert [row["rank"] for row in table["arrays"]] == [1, 2, 3, 4, 5, 6]
    assert table["arrays"][0]["curve"] == list(found.arrays[0].curve)
    assert table["penalties"] == list(PENALTIES) and table["metrics"]["abs_rel"]["better"] == "lower"


def test_wrong_calls_are_refused(varied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("scout", f"root={varied}") == 2
    assert call("scout", "task=geometri", f"root={varied}") == 2
    assert "geometry" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="fraction must be above 0"):
        scouted(varied, "geometry", fraction=0.0)


def test_a_task_without_a_scout_names_those_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("tagging")
    part = type(task).part
    monkeypatch.setattr(
        type(task), "part", lambda self, name: None if (self.name, name) == ("tagging", "scout") else part(self, name)
    )
    with pytest.raises(ConfigError, match=r"task=geometry or instance"):
        load_scout("tagging")


def test_a_scout_that_lacks_a_function_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from probe.tasks.tagging import scout as part

    monkeypatch.delattr(part, "judge")
    with pytest.raises(ConfigError, match="lacks judge"):
        load_scout("tagging")
