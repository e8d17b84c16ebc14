"""Control tasks: labels that can only be remembered, and the difference of scores that they give."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from data.dataset.clip import QUERY_POSITIONS
from data.prepare.prepare import prepare
from probe.config import resolved
from probe.inputs.control_tasks import Parts, Unavailable, exchanged, parts_of
from probe.inputs.inputs import Inputs, RememberingDataset, open_inputs
from probe.metrics.score import ClipScore
from probe.metrics.scores import Scores
from probe.metrics.statistics import estimate_mean, interval_of
from probe.module import TargetOptions, load_module
from probe.results import results
from probe.studies.selectivity import compare
from probe.task import Metric, load_task
from probe.tasks.geometry.control import moved, planes, typical_depths
from probe.tasks.instance.control import merged
from probe.train.train import train
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import clip_input, make_store, noise_maps

Configure = Callable[..., Any]
ROOMS, CLIPS = 6, 3
GRID, CODE = (16, 20), 64


def room_of(clip_id: str) -> int:
    return int(clip_id.split("_")[1])


def shapes() -> dict[str, Shape]:
    """Six rooms to train on, with three clips each; two rooms of one clip each to select and to report."""
    found = {
        f"room_{room}_{k}": Shape(query_only=True, split="train", group=f"room_{room}")
        for room in range(ROOMS)
        for k in range(CLIPS)
    }
    held = {"select": (6, 7), "report": (8, 9)}
    return found | {f"room_{room}_0": Shape(query_only=True, split=s) for s, rooms in held.items() for room in rooms}


def labels_of(clip_id: str) -> np.ndarray:
    """Classes that depend on the clip, not on its room: only features that hold them can tell."""
    return np.random.default_rng(sum(map(ord, clip_id)) * 7919).random(20) < 0.5


def true_labels(dataset: Any, clip_id: str) -> np.ndarray:
    """The classes of a clip, and nothing that two clips of a room share."""
    return np.tile(labels_of(clip_id).astype(np.float32), (20, 2, 2, 1))


def room_identity(dataset: Any, clip_id: str) -> np.ndarray:
    """One-hot of the room."""
    return np.tile(np.eye(20, dtype=np.float32)[room_of(clip_id)], (20, 2, 2, 1))


def object_codes(by_half: bool) -> Callable[[Any, str], np.ndarray]:
    """A random code per object of a clip; `by_half`: another one in later views, where it can't be recognised."""

    def make(dataset: Any, clip_id: str) -> np.ndarray:
        truth = clip_input(dataset, clip_id).ground_truth
        assert truth is not None
        ids = np.asarray(truth["instance"])
        step = ids.shape[1] // GRID[0], ids.shape[2] // GRID[1]
        cells = ids[:, step[0] // 2 :: step[0], step[1] // 2 :: step[1]][:, : GRID[0], : GRID[1]]
        number = sum(map(ord, clip_id))
        codes = [np.random.default_rng([number, half]).standard_normal((4, CODE)) for half in (0, 1)]
        late = np.arange(len(cells)) >= len(QUERY_POSITIONS) // 2
        shown = np.stack([codes[int(by_half and half)][c] for c, half in zip(cells, late, strict=True)])
        # Without a spread of their own, the cells of an object would be a cluster however close to others they lie.
        blur = np.random.default_rng([number, 2]).standard_normal(shown.shape)
        return np.asarray(shown + 0.3 * blur, np.float32)

    return make


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Artifact root whose toy rooms have three clips each."""
    root = tmp_path_factory.mktemp("rooms")
    path = root / "datasets" / "toy"
    prepare(ToySource(shapes()), path, plans=("paper-2",), workers=1)
    dataset = RememberingDataset(path)
    make_store(root, dataset, "speckle", {None: noise_maps()})
    make_store(root, dataset, "truth", {None: true_labels})
    make_store(root, dataset, "identity", {None: room_identity})
    make_store(root, dataset, "objects", {None: object_codes(False)})
    make_store(root, dataset, "halves", {None: object_codes(True)})
    return root


@pytest.fixture
def root(several: Path, tmp_path: Path) -> Path:
    for name in ("datasets", "features"):
        (tmp_path / name).symlink_to(several / name)
    return tmp_path


@pytest.fixture
def inputs(root: Path, configure: Configure) -> Inputs:
    (found,) = open_inputs(resolved(configure(root, "tagging")), load_task("tagging"))
    return found


def parts_in(inputs: Inputs, unit: Any, queries: int = 4) -> Parts:
    found = parts_of(inputs, unit, queries, 0)
    assert isinstance(found, Parts)
    return found


def targets_of(task: str, inputs: Inputs, parts: Parts, configure: Configure, root: Path, held: bool = False) -> Any:
    options = configure(root, task).probe
    clips, plan = (parts.held, parts.held_plan) if held else (parts.train, parts.train_plan)
    wanted = TargetOptions(clips, plan, "paper", 2, 0, inputs.positions)
    return load_module(task).targets(inputs.dataset, options, wanted, evaluation=held)


def test_rooms_are_divided_by_clips(inputs: Inputs) -> None:
    parts = parts_in(inputs, "room")
    assert not set(parts.train) & set(parts.held)
    assert {room_of(c) for c in parts.train} == {room_of(c) for c in parts.held} == set(range(ROOMS))
    assert len(parts.held) == ROOMS and sorted(parts.train + parts.held) == sorted(inputs.train)
    assert parts_in(inputs, "room") == parts


def test_objects_are_divided_by_views_without_a_common_feature_row(inputs: Inputs) -> None:
    parts = parts_in(inputs, "object")
    for clip_id in parts.train:
        assert parts.train_plan is not None
        learned = {query for draw in parts.train_plan.queries[clip_id] for query in draw}
        scored = {query for draw in parts.held_plan.queries[clip_id] for query in draw}
        assert learned == set(parts.learned[clip_id]) and scored and max(learned) < min(scored)
    # two neighbouring slots share a row: the view after the cut must not be read with the row of the one before it
    layer = inputs.layers[0]
    array, rows = layer.array, (0, *(1 + slot // 2 for slot in range(19)))
    pairs = dataclasses.replace(array, row_of_slot=rows, source_frames=array.source_frames[:11], rows=11)
    shared = dataclasses.replace(inputs, layers=(layer._replace(array=pairs),))
    row = {position: pairs.row_of_slot[slot] for slot, position in enumerate(QUERY_POSITIONS)}
    parts = parts_in(shared, "object", queries=9)
    for clip_id in parts.train:
        assert not {row[q] for q in parts.learned[clip_id]} & {row[q] for q in parts.held_plan.of(clip_id)}
    assert row[QUERY_POSITIONS[9]] == row[QUERY_POSITIONS[10]], "the cut runs through a pair"


def test_labels_that_go_round_are_never_one_s_own() -> None:
    for count in (2, 3, 9):
        taken = [exchanged(count, np.random.default_rng(seed)) for seed in range(20)]
        assert all(sorted(one) == list(range(count)) and all(i != j for i, j in enumerate(one)) for one in taken)
    assert exchanged(1, np.random.default_rng(0)) == [0] and exchanged(0, np.random.default_rng(0)) == []


def test_rooms_keep_one_set_of_classes_per_draw(
    root: Path, inputs: Inputs, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_clip(monkeypatch)
    parts, relabel = parts_in(inputs, "room"), load_task("tagging").part("control").CONTROL.relabel  # type: ignore[union-attr]
    targets = targets_of("tagging", inputs, parts, configure, root)
    held = targets_of("tagging", inputs, parts, configure, root, held=True)
    given = []
    for draw in range(4):
        change = relabel(inputs.dataset, parts, targets, draw)
        found: dict[int, set[tuple[float, ...]]] = {}
        for source, clips in ((targets, parts.train), (held, parts.held)):
            for clip_id in clips:
                sample = source.sample(clip_id, draw)
                changed = change(sample)
                assert torch.equal(changed["queries"], sample["queries"]) and changed["clip_id"] == clip_id
                found.setdefault(room_of(clip_id), set()).add(tuple(changed["labels"].tolist()))
        assert all(len(sets) == 1 for sets in found.values()), "one set per room"
        given.append({room: next(iter(sets)) for room, sets in found.items()})
    firsts = [next(c for c in parts.train if room_of(c) == room) for room in range(ROOMS)]
    own = {room_of(c): tuple(targets.sample(c, 0)["labels"].tolist()) for c in firsts}
    assert all(sorted(one.values()) == sorted(own.values()) for one in given), "sets are handed round"
    assert all(one[room] != own[room] for one in given for room in range(ROOMS))
    assert len({tuple(sorted(one.items())) for one in given}) > 1
    true = relabel(inputs.dataset, parts, targets, None)(targets.sample(firsts[0], 0))
    assert tuple(true["labels"].tolist()) == own[room_of(firsts[0])]


def test_objects_are_merged_evenly_and_at_random() -> None:
    ids = [2, 3, 5, 7, 11, 13, 17, 19, 23]
    tables = [merged(ids, 24, np.random.default_rng(seed)) for seed in range(20)]
    for table in tables:
        assert sorted(np.bincount(table[ids])[1:]) == [3, 3, 3]
        assert not table[np.setdiff1d(np.arange(24), ids)].any()
    assert len({tuple(table) for table in tables}) == 20
    assert merged(ids, 24, None)[ids].tolist() == ids
    assert set(merged([1, 2, 3], 4, np.random.default_rng(0))[1:]) == {1, 2}


def test_merged_objects_are_the_same_in_all_views(root: Path, inputs: Inputs, configure: Configure) -> None:
    parts, relabel = parts_in(inputs, "object"), load_task("instance").part("control").CONTROL.relabel  # type: ignore[union-attr]
    targets = targets_of("instance", inputs, parts, configure, root)
    held = targets_of("instance", inputs, parts, configure, root, held=True)
    tables = []
    for draw in range(6):
        change = relabel(inputs.dataset, parts, targets, draw)
        known: dict[tuple[str, int], set[int]] = {}
        for clip_id in parts.train:
            for epoch in range(3):
                sample = targets.sample(clip_id, epoch)
                for old, new in zip(sample["ids"].tolist(), change(sample)["ids"].tolist(), strict=True):
                    known.setdefault((clip_id, old), set()).add(new)
            sample = held.sample(clip_id, 0)
            changed = change(sample)
            assert changed["maps"].dtype == sample["maps"].dtype and not changed["things"].any()
            for old, new in {*zip(sample["maps"].flatten().tolist(), changed["maps"].flatten().tolist(), strict=True)}:
                known.setdefault((clip_id, old), set()).add(new)
        assert all(len(labels) == 1 for labels in known.values())
        tables.append(tuple(sorted((key, next(iter(labels))) for key, labels in known.items())))
    assert len(set(tables)) > 1


def test_objects_that_were_never_seen_have_no_label(root: Path, inputs: Inputs, configure: Configure) -> None:
    """In the control task and in the true one alike."""
    parts = parts_in(inputs, "object")
    clip_id = parts.train[0]

    class Late(RememberingDataset):
        def instance_maps(self, clip_id: str, positions: Sequence[int]) -> Any:
            maps = super().instance_maps(clip_id, positions).copy()
            for i, position in enumerate(positions):
                maps[i, :8] = 9 if position not in parts.learned[clip_id] else 0
            return maps

    late = dataclasses.replace(inputs, dataset=Late(inputs.dataset.path))
    for task, key, rows in (("instance", "maps", 8), ("geometry", "depth", 2)):
        relabel = load_task(task).part("control").CONTROL.relabel  # type: ignore[union-attr]
        held = targets_of(task, late, parts, configure, root, held=True)
        for draw in (None, 0):
            changed = relabel(late.dataset, parts, held, draw)(held.sample(clip_id, 0))
            assert not changed[key][:, :rows].any() and changed[key][:, rows:].any(), (task, draw)


def test_planes_of_objects() -> None:
    ids = np.array([[[1, 1, 2, 3, 0]]], np.uint16)
    depth = np.array([[[1.0, 3.0, 4.0, 0.0, 12.0]]], np.float32)
    found = typical_depths(ids, depth)
    assert found == pytest.approx({1: 2.0 / 5.0, 2: 4.0 / 5.0})  # 3 has no known depth
    assert planes(found, 4, None) == pytest.approx([0, 0.4, 0.8, 0])
    assert planes(found, 4, np.random.default_rng(0)) == pytest.approx([0, 0.8, 0.4, 0])


def test_points_move_along_their_rays() -> None:
    """Against a projection: the moved point falls on the same pixel of its own camera, at the new depth."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    world2cam = torch.eye(4).repeat(2, 1, 1).double()
    world2cam[1, :3, :3], world2cam[1, :3, 3] = torch.from_numpy(turn), torch.tensor([0.3, -0.2, 0.5]).double()
    rays = torch.from_numpy(rng.standard_normal((2, 3, 4, 2)))
    depth = torch.from_numpy(rng.uniform(1, 3, (2, 3, 4)))
    local = torch.cat([rays * depth[..., None], depth[..., None]], dim=-1)
    points = torch.stack([(local[i] - world2cam[i, :3, 3]) @ world2cam[i, :3, :3] for i in range(2)])
    target = torch.from_numpy(rng.uniform(1, 3, (2, 3, 4)))
    target[0, 0, 0] = 0
    new = moved(depth, points, world2cam, target)
    assert not new[0, 0, 0].any()
    for i in range(2):
        again = new[i] @ world2cam[i, :3, :3].T + world2cam[i, :3, 3]
        known = target[i] > 0
        torch.testing.assert_close(again[..., 2][known], target[i][known])
        torch.testing.assert_close((again[..., :2] / again[..., 2:])[known], rays[i][known])


# ---- the interval


def scores_of(values: Any) -> Scores:
    names = [f"c{i}" for i in range(len(values))]
    return Scores(names, [ClipScore({"x": value}) for value in values])


def test_one_draw_gives_the_interval_over_rooms() -> None:
    rng = np.random.default_rng(0)
    true, control = rng.random(24), rng.random(24)
    rooms = {f"c{i}": f"r{i // 2:02d}" for i in range(24)}
    higher, lower = (Metric("x", word) for word in ("higher", "lower"))
    found = compare(scores_of(true), [scores_of(control)], rooms, {"x": higher}, 500)["x"]
    expected = interval_of(estimate_mean(true - control, list(rooms.values())), number=500)
    assert [found[k] for k in ("value", "low", "high")] == pytest.approx([expected.value, expected.low, expected.high])
    turned = compare(scores_of(true), [scores_of(control)], rooms, {"x": lower}, 500)["x"]
    assert [turned[k] for k in ("value", "low", "high")] == pytest.approx(
        [-expected.value, -expected.high, -expected.low]
    )


def test_draws_that_differ_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    true, rooms = 0.9 + 0.01 * rng.normal(size=12), {f"c{i}": f"r{i:02d}" for i in range(12)}
    metric = {"x": Metric("x", "higher")}
    same = compare(scores_of(true), [scores_of(np.full(12, 0.5))] * 3, rooms, metric, 500)["x"]
    assert same["value"] == pytest.approx(true.mean() - 0.5) and same["high"] - same["low"] < 0.05
    others = [scores_of(np.full(12, level)) for level in (0.3, 0.5, 0.7)]
    apart = compare(scores_of(true), others, rooms, metric, 2000)["x"]
    assert apart["value"] == pytest.approx(true.mean() - 0.5) and apart["control"] == pytest.approx([0.3, 0.5, 0.7])
    half = stats.t.ppf(0.975, 2) * 0.2 / math.sqrt(3)  # Student's t of three draws; the rooms hardly differ
    assert apart["high"] - apart["low"] == pytest.approx(2 * half, rel=0.2)


def test_clips_without_a_value_in_one_of_them_are_left_out() -> None:
    rooms, metric = {f"c{i}": f"r{i}" for i in range(3)}, {"x": Metric("x", "higher")}
    found = compare(scores_of([1.0, np.nan, 0.5]), [scores_of([0.5, 0.0, 0.5])], rooms, metric, 50)["x"]
    assert (found["value"], found["clips"]) == (0.25, 2)
    none = compare(scores_of([np.nan] * 3), [scores_of([0.5] * 3)], rooms, metric, 50)["x"]
    assert none["value"] is None and none["reason"] == "undefined on every clip"


# ---- whole runs


def by_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    def pixels(self: RememberingDataset, clip_id: str, positions: Sequence[int]) -> np.ndarray:
        return np.tile(labels_of(clip_id) * 1000, (len(positions), 1))

    monkeypatch.setattr(RememberingDataset, "class_pixels", pixels)


LONG = {"recipe__length": 60, "recipe__lr": 0.02, "recipe__batch": 6, "resamples": 100}
LINEAR = LONG | {"depths": "linear", "recipe__queries": 4, "loss__pixels": 256, "recipe__length": 200}


def test_truth_is_selective_and_the_identity_of_rooms_is_not(
    root: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_clip(monkeypatch)
    found = {}
    for model in ("truth", "identity"):
        (result,) = train(configure(root, "tagging", model=model, selectivity=True, **LONG))
        found[model] = result["control_task"]["metrics"]["map"]
        assert result["control_task"]["clips"] == {"train": 12, "held": 6} and result["control_task"]["rooms"] == 6
    assert found["truth"]["true"] > 0.95 and found["truth"]["value"] > 0.15
    assert found["truth"]["low"] is None and found["truth"]["reason"].startswith("fewer than 18 rooms")
    assert min(found["identity"]["control"]) > 0.95 and found["identity"]["value"] < 0
    assert found["truth"]["value"] > found["identity"]["value"] + 0.3


@pytest.mark.full
def test_objects_that_can_be_recognised_are_remembered(root: Path, configure: Configure) -> None:
    found = {}
    for model in ("objects", "halves"):
        (result,) = train(configure(root, "instance", model=model, selectivity=True, **LINEAR))
        found[model] = result["control_task"]["metrics"]["t_miou"]
    assert found["objects"]["true"] > 0.85 and found["halves"]["true"] > 0.85
    assert np.mean(found["objects"]["control"]) > np.mean(found["halves"]["control"]) + 0.05
    assert found["halves"]["value"] > found["objects"]["value"] + 0.05


@pytest.mark.parametrize("task", ["tagging", "instance", "geometry"])
def test_repeated_runs_are_identical(root: Path, configure: Configure, task: str) -> None:
    first, again = (
        train(configure(root, task, selectivity=True, control_draws=2, force=force))[0] for force in (False, True)
    )
    assert first["finished_at"] and first["control_task"] == again["control_task"]
    found = again["control_task"]
    assert found["draws"] == 2 and set(found["metrics"]) == set(load_task(task).part("control").CONTROL.metrics)  # type: ignore[union-attr]
    assert all(len(row["control"]) == 2 for row in found["metrics"].values())
    # one probe at a time: what trains beside a probe changes nothing
    small = train(configure(root, task, selectivity=True, control_draws=2, force=True, memory=1e-9))[0]
    assert small["control_task"] == found
    # measured once, again for another number of draws, and kept with the result
    kept = results.find(str(root), again["run_id"])
    assert kept is not None and kept["control_task"] == found
    (more,) = train(configure(root, task, selectivity=True, control_draws=1))
    assert more["control_task"]["draws"] == 1 and more["run_id"] == again["run_id"]
    for key, row in more["control_task"]["metrics"].items():
        assert row["control"] == found["metrics"][key]["control"][:1] and row["true"] == found["metrics"][key]["true"]


def test_runs_are_the_same_with_and_without_control_tasks(root: Path, configure: Configure) -> None:
    (plain,) = train(configure(root, "tagging"))
    measured, twin = train(configure(root, "tagging", selectivity=True, control=True, control_draws=1))
    assert measured["run_id"] == plain["run_id"] and measured["report"] == plain["report"]
    assert "control_task" not in plain and "control_task" not in twin and twin["selectivity"]


def test_one_clip_per_room_has_no_control_task_by_room(
    artifacts: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    (result,) = train(configure(artifacts, "tagging", selectivity=True))
    found = result["control_task"]
    assert "0 rooms" in found["reason"] and "group_id" in found["fix"] and found["draws"] == 3
    assert "metrics" not in found


def test_fixes_of_the_rooms_name_their_option(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = dataclasses.replace(inputs, train=[f"room_{room}_0" for room in range(ROOMS)])
    monkeypatch.setitem(inputs.dataset.identity, "kind", "rooms")
    found = parts_of(alone, "room", 2, 0)
    assert isinstance(found, Unavailable) and "clips_per_room=2" in found.fix


def test_objects_need_instance_maps_and_several_views(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    array = inputs.layers[0].array
    one_row = dataclasses.replace(array, row_of_slot=(0,) * 20, source_frames=array.source_frames[:1], rows=1)
    still = dataclasses.replace(inputs, layers=(inputs.layers[0]._replace(array=one_row),))
    found = parts_of(still, "object", 2, 0)
    assert isinstance(found, Unavailable) and "features of their own" in found.reason
    monkeypatch.setattr(inputs.dataset, "clips", inputs.dataset.clips.assign(has_instance=False))
    found = parts_of(inputs, "object", 2, 0)
    assert isinstance(found, Unavailable) and "object maps" in found.reason and found.fix


def test_tasks_without_a_control_task_say_so(root: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_task("instance").part("control"), "CONTROL", None)
    (result,) = train(configure(root, "instance", selectivity=True))
    assert "declares no control task" in result["control_task"]["reason"]
