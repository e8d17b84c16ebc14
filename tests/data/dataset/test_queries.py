"""Query samplers and frozen plans: support, gaps, the published draws, independence of order and workers."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import ConfigError, CorruptionError, DatasetError, MissingError, StaleError, VersionError
from configs.files import sealed_json, sha256_file
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.queries import (
    SAMPLERS,
    PlanName,
    clip_rng,
    draw_plan,
    draw_queries,
    freeze_plan,
    load_plan,
    paper_queries,
    plan_file,
    snap,
)
from data.dataset.reader import PreparedDataset
from data.look.verify import dataset_problems
from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource


def draw(sampler: str, n: int, epoch: int = 0, clip_id: str = "c", seed: int = 0) -> tuple[int, ...]:
    centres = np.stack([np.sin(np.arange(20)), np.cos(np.arange(20) * 1.3), np.zeros(20)], 1)
    return draw_queries(sampler, n, clip_id=clip_id, seed=seed, epoch=epoch, legal=QUERY_POSITIONS, centres=centres)


def test_snap() -> None:
    assert [snap(p) for p in (0, 1, 4, 5, 8, 9, 75)] == [0, 1, 1, 5, 5, 9, 73]


def published(index: int, n: int, seed: int = 0) -> list[int]:
    """The published sampler written down from its formula, step by step (protocol, metrics 1.5)."""
    rng = np.random.default_rng(seed + index)
    slack = 76 - (n - 1) * 5 - 1
    cuts = sorted(rng.integers(0, slack + 1, n - 1))
    queries = [0] + [k * 5 + int(cuts[k - 1]) for k in range(1, n)]
    return [max(0, 4 * ((f - 1) // 4) + 1) for f in queries]


@pytest.mark.parametrize("n", [4, 8])
def test_paper_draws(n: int) -> None:
    for index in range(300):
        assert list(paper_queries(index, n, 81)) == published(index, n)
        assert paper_queries(index, n, 150) == paper_queries(index, n, 81)  # both span the window of 76


def test_paper_draws_are_frozen() -> None:
    assert paper_queries(0, 4, 81) == (0, 33, 45, 65)
    assert paper_queries(7, 8, 81)[0] == 0


@pytest.mark.parametrize("n", [4, 8])
def test_paper_support(n: int) -> None:
    """First query always 0, position 1 never drawn, the others about evenly (protocol, data 7)."""
    counts = Counter(v for i in range(4000) for v in paper_queries(i, n, 81))
    assert counts[0] == 4000 and counts[1] == 0 and set(counts) == set(QUERY_POSITIONS) - {1}
    middle = [counts[p] / 4000 for p in QUERY_POSITIONS[3:-1]]
    assert abs(np.mean(middle) - {4: 0.167, 8: 0.38}[n]) < 0.02


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
@pytest.mark.parametrize("n", [1, 2, 4, 8])
def test_all_samplers_give_different_legal_queries(sampler: str, n: int) -> None:
    for epoch in range(200):
        queries = draw(sampler, n, epoch)
        assert len(set(queries)) == n and set(queries) <= set(QUERY_POSITIONS)
        if sampler in ("paper", "random_start", "uniform"):
            assert list(queries) == sorted(queries) and all(b - a >= 4 for a, b in itertools.pairwise(queries))


def test_random_start_moves_the_reference() -> None:
    first = Counter(draw("random_start", 4, epoch)[0] for epoch in range(2000))
    assert len(first) > 10 and first[1] > 0


def test_draws_depend_on_seed_epoch_and_clip_alone() -> None:
    epochs = [draw("random_start", 4, e) for e in range(20)]
    assert [draw("random_start", 4, e) for e in reversed(range(20))] == epochs[::-1]
    assert len(set(epochs)) > 10
    assert draw("random_start", 4, clip_id="d") != epochs[0] or draw("random_start", 4, 1, "d") != epochs[1]
    zero, one = ([draw("random_start", 4, e, seed=s) for e in range(20)] for s in (0, 1))
    assert zero == epochs and zero != one  # seed 0 is a seed like any other


def test_generator_is_frozen() -> None:
    assert clip_rng(0, 0, "a").integers(0, 1000, 3).tolist() == clip_rng(0, 0, "a").integers(0, 1000, 3).tolist()
    assert clip_rng(0, 0, "a", "pixels").integers(0, 2**62) != clip_rng(0, 0, "a").integers(0, 2**62)


def test_baseline_prefers_far_cameras() -> None:
    centres = np.zeros((20, 3))
    centres[:, 0] = np.arange(20.0)
    queries = draw_queries("baseline", 2, clip_id="c", seed=0, epoch=3, legal=QUERY_POSITIONS, centres=centres)
    first = QUERY_POSITIONS.index(queries[0])
    assert QUERY_POSITIONS.index(queries[1]) == (19 if first < 10 else 0)
    centres[5:] = np.nan
    for epoch in range(30):
        queries = draw_queries("baseline", 4, clip_id="c", seed=0, epoch=epoch, legal=QUERY_POSITIONS, centres=centres)
        assert set(queries) <= set(QUERY_POSITIONS[:5])
    with pytest.raises(DatasetError, match="valid poses"):
        draw_queries("baseline", 8, clip_id="c", seed=0, epoch=0, legal=QUERY_POSITIONS, centres=centres)


def test_impossible_draws() -> None:
    with pytest.raises(DatasetError, match="too short for 8 queries"):
        paper_queries(0, 8, 35)
    with pytest.raises(DatasetError, match="did you mean uniform"):
        draw("unifrom", 4)
    with pytest.raises(DatasetError, match="can't draw 21 queries"):
        draw("uniform", 21)


def test_plans_of_a_dataset(toy: PreparedDataset) -> None:
    plan = load_plan(toy, "paper-4")
    assert "short_00" in plan.queries  # 30 frames hold 4 queries with gaps of 5
    others = toy.split("report", "paper")
    for ids in (toy.split("train"), others):
        for place, clip_id in enumerate(ids):
            frames = min(len(toy.positions(clip_id)), 76)
            expected = paper_queries(place, 4, 81 if clip_id == "query_00" else frames)
            assert plan.of(clip_id) == expected
    assert load_plan(toy, "paper-4").sha256 == plan.sha256
    several = load_plan(toy, "random_start-4-d3-s1")
    assert all(len(draws) == 3 for draws in several.queries.values())
    assert "short_00" not in load_plan(toy, "paper-8").queries  # too short: left out, not bent
    with pytest.raises(MissingError, match="draw 1"):
        plan.of("plain_00", 1)


def test_plan_names() -> None:
    assert PlanName.parse("baseline-8-d2-s5") == PlanName("baseline", 8, 2, 5)
    for bad in ("paper", "paper-0", "paper-8-d0", "../x-8"):
        with pytest.raises(ConfigError):
            PlanName.parse(bad)
    with pytest.raises(ConfigError, match="did you mean paper"):
        PlanName.parse("papers-8")


def test_plan_is_frozen_and_the_file_decides(tmp_path: Path) -> None:
    prepare(ToySource({"a": Shape(), "b": Shape()}), tmp_path / "d", plans=["paper-4"], workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    (path,) = (tmp_path / "d/queries").iterdir()
    drawn = load_plan(dataset, "paper-4")
    assert path == plan_file(dataset, "paper-4") and sha256_file(path) == drawn.sha256
    assert drawn == draw_plan(dataset, "paper-4")
    rewrite(path, lambda record: [row.update(queries=[[0, 5, 9, 13]]) for row in record["clips"].values()])
    assert load_plan(dataset, "paper-4").of("a") == (0, 5, 9, 13)
    with pytest.raises(StaleError, match="has changed since it was read"):
        freeze_plan(dataset, drawn)


def test_a_plan_is_drawn_without_being_written(tmp_path: Path) -> None:
    prepare(ToySource({"a": Shape(), "b": Shape(30)}), tmp_path / "d", plans=[], workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    plan = load_plan(dataset, "paper-8")
    assert list(plan.queries) == ["a"] and not list((tmp_path / "d/queries").iterdir())
    freeze_plan(dataset, plan)
    freeze_plan(dataset, plan)
    assert load_plan(dataset, "paper-8") == plan and len(list((tmp_path / "d/queries").iterdir())) == 1


WRONG_PLANS: dict[str, Callable[[dict[str, Any]], object]] = {
    "position without ground truth": lambda r: r["clips"]["a"].update(queries=[[0, 2, 9, 13]]),
    "position out of range": lambda r: r["clips"]["a"].update(queries=[[0, 5, 9, 81]]),
    "position twice": lambda r: r["clips"]["a"].update(queries=[[0, 5, 5, 13]]),
    "fewer queries": lambda r: r["clips"]["a"].update(queries=[[0, 5, 9]]),
    "more draws": lambda r: r["clips"]["a"].update(queries=[[0, 5, 9, 13], [0, 5, 9, 17]]),
    "text": lambda r: r["clips"]["a"].update(queries=[["zero", 5, 9, 13]]),
    "unknown clip": lambda r: r["clips"].update(c=r["clips"]["a"]),
    "other split": lambda r: r["clips"]["a"].update(split="nowhere"),
    "other plan": lambda r: r.update(plan="random_start-4"),
    "other dataset": lambda r: r.update(dataset="0" * 64),
    "no clips": lambda r: r.update(clips=None),
    "clips as list": lambda r: r.update(clips=[]),
    "lacking": lambda r: r.pop("clips"),
}


@pytest.mark.parametrize("what", WRONG_PLANS)
def test_wrong_plans_are_refused_with_a_way_out(toy_plan: tuple[PreparedDataset, Path], what: str) -> None:
    """Also with a digest that fits."""
    dataset, path = toy_plan
    rewrite(path, WRONG_PLANS[what])
    with pytest.raises(CorruptionError, match=f"not a readable query plan(?s:.*)fix: +delete {path}"):
        load_plan(dataset, "paper-4")
    assert any("not a readable query plan" in problem for problem in dataset_problems(dataset))


def test_plans_of_other_formats_and_foreign_files_are_refused(toy_plan: tuple[PreparedDataset, Path]) -> None:
    dataset, path = toy_plan
    rewrite(path, lambda record: record.update(version=1))
    with pytest.raises(VersionError, match="delete"):
        load_plan(dataset, "paper-4")
    path.unlink()
    path.mkdir()
    with pytest.raises(CorruptionError, match="not a regular file"):
        load_plan(dataset, "paper-4")


def test_every_flipped_byte_of_a_plan_is_found(toy_plan: tuple[PreparedDataset, Path]) -> None:
    dataset, path = toy_plan
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises((CorruptionError, VersionError), match="delete"):
            load_plan(dataset, "paper-4")
    for length in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptionError, match="delete"):
            load_plan(dataset, "paper-4")


@pytest.fixture
def toy_plan(tmp_path: Path) -> tuple[PreparedDataset, Path]:
    """A dataset of two clips and the file of its only plan."""
    prepare(ToySource({"a": Shape(), "b": Shape()}), tmp_path / "d", plans=["paper-4"], workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    return dataset, plan_file(dataset, "paper-4")


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a sealed JSON file and seal it again."""
    record = json.loads(path.read_bytes())
    del record["digest"]
    change(record)
    path.write_bytes(sealed_json(record))


def test_grown_dataset_gets_plans_of_its_own(tmp_path: Path) -> None:
    prepare(ToySource({"a": Shape()}), tmp_path / "d", plans=["random_start-4"], workers=1)
    before = load_plan(PreparedDataset(tmp_path / "d"), "random_start-4")
    prepare(ToySource({"a": Shape(), "b": Shape()}), tmp_path / "d", plans=["random_start-4"], workers=1)
    after = load_plan(PreparedDataset(tmp_path / "d"), "random_start-4")
    assert after.of("a") == before.of("a") and set(after.queries) == {"a", "b"}
