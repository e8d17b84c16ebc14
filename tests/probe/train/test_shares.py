"""Runs on a share of the training clips: whole rooms, nested, and what they have in common with runs on all."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError
from data.dataset.queries import clip_rng
from data.prepare.prepare import prepare
from probe.inputs.inputs import RememberingDataset, prefix
from probe.report.build import build
from probe.results import results
from probe.results.repeat import train_command
from probe.results.stale import staleness
from probe.train.plan import plan_runs
from probe.train.recipe import RecipeConfig
from probe.train.schedule import Schedule
from probe.train.train import train
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps

Configure = Callable[..., Any]

SIZES = (1, 7, 2, 2, 5, 3, 4, 1, 6, 9)
ROOMS = {f"r{room}c{clip}": f"room {room}" for room, size in enumerate(SIZES) for clip in range(size)}
CLIPS = sorted(ROOMS)


def cut_rooms(chosen: list[str]) -> int:
    """Number of rooms of which some clips are in and others are out."""
    inside, outside = ({ROOMS[clip] for clip in clips} for clips in (chosen, set(CLIPS) - set(chosen)))
    return len(inside & outside)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_whole_rooms_and_nested(seed: int) -> None:
    shares = (0.001, 0.05, 0.1, 0.25, 0.3, 0.5, 0.75, 0.9, 0.999, 1.0)
    parts = [prefix(CLIPS, ROOMS, share, seed) for share in shares]
    assert all(cut_rooms(part) == 0 for part in parts)
    assert all(set(a) <= set(b) for a, b in itertools.pairwise(parts))
    assert len({ROOMS[clip] for clip in parts[0]}) == 1 and parts[-1] == CLIPS
    assert all(part == sorted(part) for part in parts)
    # negative control: a share drawn clip by clip, as 0.2.0 did, cuts rooms, and shows nearly all of them
    order = clip_rng(seed, 0, "", "fraction").permutation(len(CLIPS))
    by_clip = [CLIPS[int(i)] for i in order[: len(CLIPS) // 2]]
    assert cut_rooms(by_clip) > 3


@pytest.mark.parametrize("seed", range(3))
def test_no_other_number_of_rooms_is_nearer_to_the_share(seed: int) -> None:
    parts = {len(part): part for part in (prefix(CLIPS, ROOMS, share, seed) for share in np.linspace(0, 1, 400))}
    assert len(parts) == len(SIZES)  # each number of rooms, along one order
    for share in np.linspace(0.01, 0.99, 57):
        found = len(prefix(CLIPS, ROOMS, share, seed))
        assert abs(found - share * len(CLIPS)) == min(abs(size - share * len(CLIPS)) for size in parts)


def test_the_seed_draws_the_rooms() -> None:
    half = [tuple(prefix(CLIPS, ROOMS, 0.5, seed)) for seed in (0, 0, 1, 2)]
    assert half[0] == half[1] and len(set(half)) == 3


def test_rooms_of_one_clip_are_drawn_as_in_0_2_0() -> None:
    """Then a clip is a room: runs on a share that were made before are still what they were."""
    clips = [f"c{i:02d}" for i in range(13)]
    for seed, share in itertools.product(range(3), [*np.linspace(0.01, 0.99, 99).tolist(), 0.5, 2.5 / 13, 3.5 / 13]):
        order = clip_rng(seed, 0, "", "fraction").permutation(len(clips))
        count = max(1, round(share * len(clips)))
        assert prefix(clips, {c: c for c in clips}, share, seed) == sorted(clips[int(i)] for i in order[:count])


# ---- length


def recipe(**changes: Any) -> RecipeConfig:
    usual = {"length": 60, "unit": "epochs", "warmup": 3, "lr": 1e-3, "weight_decay": 0.0, "batch": 10, "queries": 2}
    return RecipeConfig(**{**usual, "select": "select/loss", **changes})


def test_steps_or_epochs_are_held() -> None:
    """60 epochs of 1,000 clips in batches of 10: 6,000 steps on all of them, and on any share of them."""
    clips = [f"c{i:04d}" for i in range(1000)]
    steps = {
        (budget, n): Schedule(clips[:n], recipe(), 0, whole=1000, budget=budget)
        for budget in ("steps", "epochs")
        for n in (1000, 250, 100, 5)
    }
    assert {schedule.total_steps for (budget, _), schedule in steps.items() if budget == "steps"} == {6000}
    assert [steps["epochs", n].total_steps for n in (1000, 250, 100, 5)] == [6000, 1500, 600, 60]
    assert {schedule.rounds for schedule in steps.values()} == {60}
    tenth = steps["steps", 100]
    assert tenth.first_step(60) == 6000 and tenth.first_step(1) == 100  # as many looks at the selection split
    seen = [sample for round_ in range(60) for sample in tenth.samples(round_)]
    assert len(seen) == 60_000 and all(seen.count((clip, 599)) == 1 for clip in clips[:3])


def test_lengths_in_steps() -> None:
    clips = [f"c{i:03d}" for i in range(100)]
    made = {
        b: Schedule(clips[:25], recipe(length=400, unit="steps"), 0, whole=100, budget=b) for b in ("steps", "epochs")
    }
    # 400 steps of 10 clips are 40 epochs of 100; 25 clips give two batches an epoch
    assert (made["steps"].total_steps, made["epochs"].total_steps) == (400, 80)
    assert {schedule.rounds for schedule in made.values()} == {10}
    short = Schedule(clips[:10], recipe(length=4, unit="steps"), 0, whole=100, budget="epochs")
    assert (short.total_steps, short.rounds) == (1, 1)


# ---- runs


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight training clips in four rooms, and a store of noise."""
    root = tmp_path_factory.mktemp("shares")
    shapes = {f"c{i}": Shape(query_only=True, split="train", group=f"train {i // 2}") for i in range(8)}
    shapes |= {f"d{i}": Shape(query_only=True, split=("select", "report")[i % 2], group=f"d{i}") for i in range(4)}
    prepare(ToySource(shapes), root / "datasets" / "toy", plans=("paper-2",), workers=1)
    make_store(root, RememberingDataset(root / "datasets" / "toy"), "speckle", {None: noise_maps()})
    return root


@pytest.fixture
def root(shared: Path, tmp_path: Path) -> Path:
    path = tmp_path / "artifacts"
    path.mkdir()
    for name in ("datasets", "features"):
        (path / name).symlink_to(shared / name)
    return path


def run_id(config: Any) -> str:
    (plan,) = plan_runs(config).plans
    return plan.run_id


def test_full_runs_keep_their_identity(root: Path, configure: Configure) -> None:
    """A budget matters only where it changes the length; elsewhere it isn't part of what a run is."""
    for unit in ("epochs", "steps"):
        names = {
            (share, budget): run_id(
                configure(root, "tagging", fraction=share, data_budget=budget, recipe__unit=unit, recipe__length=4)
            )
            for share in (1.0, 0.5)
            for budget in ("steps", "epochs")
        }
        assert names[1.0, "steps"] == names[1.0, "epochs"] and len(set(names.values())) == 3
        (plan,) = plan_runs(configure(root, "tagging", fraction=0.5, data_budget=unit, recipe__unit=unit)).plans
        assert "data_budget" not in plan.identity  # what 0.2.0 trained
    with pytest.raises(ConfigError, match="data_budget"):
        configure(root, "tagging", data_budget="clips")


def test_rooms_and_budget_are_recorded(root: Path, configure: Configure) -> None:
    options = {"recipe__unit": "epochs", "recipe__length": 2}
    found = {
        (share, budget): train(configure(root, "tagging", fraction=share, data_budget=budget, **options))[0]
        for share, budget in ((1.0, "steps"), (0.3, "steps"), (0.3, "epochs"))
    }
    whole, steps, epochs = found.values()
    assert (whole["clips"]["train"], whole["rooms"]) == (8, {"train": 4, "select": 2, "report": 2})
    assert (steps["clips"]["train"], steps["rooms"]["train"]) == (2, 1)
    assert [result["data_budget"] for result in (whole, steps, epochs)] == ["steps", "steps", "epochs"]
    assert [result["steps"] for result in (whole, steps, epochs)] == [8, 8, 2]
    assert "data_budget" not in train_command(steps) and "data_budget=epochs" in train_command(epochs)
    assert not staleness(str(root), found.values()).stale
    curves = build(str(root)).table("curves")
    curves = curves[(curves["axis"] == "fraction") & (curves["metric"] == "map")]
    assert sorted(curves["x"]) == [0.3, 0.3, 1.0, 1.0]  # one curve per budget; all clips end both
    assert curves["setting"].nunique() == 3


def test_shares_of_0_2_0_are_told_apart(root: Path, configure: Configure) -> None:
    """There clips were drawn one by one, and epochs were held."""
    (now,) = train(configure(root, "tagging", fraction=0.3, data_budget="epochs", recipe__unit="epochs"))
    old = {key: value for key, value in now.items() if key not in ("rooms", "data_budget")}
    old["config"] = {key: value for key, value in now["config"].items() if key != "data_budget"}
    results.write(str(root), old)
    kept = results.find_run(str(root), now["run_id"])
    assert not staleness(str(root), [kept]).stale and "data_budget=epochs" in train_command(kept)
    other = staleness(str(root), [{**kept, "inputs": {**kept["inputs"], "clips": "x"}}])
    assert "drawn clip by clip" in other.stale[now["run_id"]]


def test_blocks_of_codes_are_whole_rooms(root: Path, configure: Configure) -> None:
    (result,) = train(configure(root, "tagging", mdl=True))
    blocks = result["mdl"]["blocks"]
    assert [(block["trained_on"], block["clips"]) for block in blocks] == [(0, 2), (2, 2), (4, 4)]
