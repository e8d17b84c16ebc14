"""Procedural rooms, features from ground truth, and what probes make of them.

With all groups of the oracle each task is solved, with coordinates alone none is, and a task suffers most from losing
its own group: instance codes, depth and rays, or the class histogram.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from extract.controls import oracle
from probe.config import read_run
from probe.inputs.inputs import RememberingDataset
from probe.train.train import train
from tests.dataset_stores import GROUPS, Maps, make_store, oracle_maps, position_maps

HEADLINE = {"tagging": "map", "instance": "t_sr", "geometry": "abs_rel"}
"""What an ablation is measured by. T-mIoU stays near its ceiling without any one group: colours tell surfaces apart."""
OWN = {"tagging": ("classes",), "instance": ("code",), "geometry": ("depth", "rays")}
NAMES = {"tagging": "no-classes", "instance": "no-code", "geometry": "no-depth"}


def make_oracles(root: Path, dataset: RememberingDataset) -> None:
    """Stores of all groups, and of all but one task's own; the groups stand side by side in the channels."""
    maps = {clip_id: oracle_maps()(dataset, clip_id) for clip_id in dataset.clips["clip_id"]}
    ends = dict(zip(GROUPS, itertools.accumulate(oracle.GROUPS[name] for name in GROUPS), strict=True))

    def without(groups: Sequence[str]) -> Maps:
        kept = [c for g in GROUPS if g not in groups for c in range(ends[g] - oracle.GROUPS[g], ends[g])]
        return lambda dataset, clip_id: maps[clip_id][..., kept]

    make_store(root, dataset, "oracle", {None: without(())})
    for task, name in NAMES.items():
        make_store(root, dataset, name, {None: without(OWN[task])})


def rooms(root: Path, clips: int, pixels: int, workers: int) -> RememberingDataset:
    config = RoomsConfig(dataset="query", clips=clips, height=pixels, width=pixels, render="query")
    path = root / "datasets" / "query"
    prepare(RoomsSource(config), path, plans=(), workers=workers)
    return RememberingDataset(path)


def run(root: Path, task: str, sources: str, profile: str) -> list[dict[str, Any]]:
    """Train one probe on each source, all in one pass."""
    words = {"task": task, "model": sources, "root": str(root), "profile": profile, "pictures": "0"}
    words |= {"device": "cpu", "resamples": "50"}
    return train(read_run(words))


def value(result: dict[str, Any], key: str) -> float:
    number = result["report"][key]["value"]
    assert number is not None
    return float(number)


def loss_of_quality(task: str, full: dict[str, Any], ablated: dict[str, Any]) -> float:
    """By how much an ablation is worse, as a share of what was there: positive is worse."""
    before, after = value(full, HEADLINE[task]), value(ablated, HEADLINE[task])
    return after / before - 1 if task == "geometry" else 1 - after / before


@pytest.fixture(scope="module")
def smoke_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("smoke")
    dataset = rooms(root, clips=40, pixels=64, workers=2)
    make_oracles(root, dataset)
    return root


@pytest.mark.parametrize("task", list(HEADLINE))
def test_smoke(smoke_root: Path, task: str) -> None:
    full, ablated = run(smoke_root, task, f"oracle {NAMES[task]}", "smoke")
    # Colours and rays tell many objects apart without their codes.
    assert loss_of_quality(task, full, ablated) > {"tagging": 0.1, "instance": 0.03, "geometry": 0.1}[task]
    if task == "tagging":
        assert value(full, "map") > value(full, "random_map") + 0.15
    if task == "instance":
        assert value(full, "t_miou") > 0.6 * value(full, "t_miou_ceiling")
    if task == "geometry":
        assert value(full, "abs_rel") < 0.25


@pytest.fixture(scope="module")
def full_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("full")
    dataset = rooms(root, clips=120, pixels=128, workers=0)
    make_store(root, dataset, "position", {None: position_maps()})
    make_oracles(root, dataset)
    return root


@pytest.mark.full
def test_matrix(full_root: Path) -> None:
    sources = ["oracle", "position", *NAMES.values()]
    found = {task: dict(zip(sources, run(full_root, task, " ".join(sources), "cpu"), strict=True)) for task in HEADLINE}

    assert value(found["tagging"]["oracle"], "map") > 0.95
    instance = found["instance"]["oracle"]
    assert value(instance, "t_miou") >= 0.85 * value(instance, "t_miou_ceiling")
    assert value(found["geometry"]["oracle"], "abs_rel") < 0.05
    assert value(found["geometry"]["oracle"], "auc_30") > 0.8

    floor = found["tagging"]["position"]
    assert abs(value(floor, "map") - value(floor, "random_map")) < 0.1
    assert value(found["instance"]["position"], "t_miou") < 0.5 * value(instance, "t_miou")

    for task, results in found.items():
        worse = {name: loss_of_quality(task, results["oracle"], results[name]) for name in NAMES.values()}
        assert max(worse, key=lambda name: worse[name]) == NAMES[task], (task, worse)
