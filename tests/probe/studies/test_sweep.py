"""Sweeps: which layers and noise levels are meant, jobs over processes, continuing, failing layers, curves."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cache.format.clips import ClipEntry
from cache.format.spec import ArraySpec
from cache.locate import store_path
from cache.store import FeatureStore
from configs import commands
from configs.errors import ConfigError, MissingError, NonFiniteError
from configs.loader import resolve
from data.dataset.clip import QUERY_POSITIONS
from data.prepare.prepare import prepare
from probe.config import sweep_layers
from probe.inputs.inputs import RememberingDataset
from probe.inputs.layers import choose_arrays
from probe.results.survey import PARQUET, survey
from probe.studies.sweep import cut, sweep
from probe.studies.sweep_table import chosen, mean, print_outcome
from probe.train.run_folder import load_checkpoint
from probe.train.train import train
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps

CLIPS = {f"room_{i:02d}": split for i, split in enumerate(["train"] * 4 + ["select"] * 2 + ["report"] * 2)}
TINY = {"trunk.width": "16", "trunk.heads": "2", "head.width": "16", "recipe.length": "4"}


def words(root: Path, **given: Any) -> dict[str, str]:
    options = {"task": "tagging", "root": str(root), "profile": "debug", "pictures": "0", "resamples": "20"}
    return options | TINY | {"device": "cpu"} | {k.replace("__", "."): str(v) for k, v in given.items()}


def swept(root: Path, **given: Any) -> Any:
    options = words(root, **given)
    layers = sweep_layers(options)
    return sweep(resolve(layers.start, layers.values, options))


def trained(root: Path, **given: Any) -> list[dict[str, Any]]:
    from probe.config import read_run

    options = words(root, **given)
    return train(read_run(options))


def weights(root: Path, run_id: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_checkpoint(root / "runs" / run_id / "last.ckpt", run_id)["weights"]
    return found


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dataset `toy`; `deep` with blocks 1, 2 and 4 of 4, `wide` and `other` with one array each, of one name."""
    root = tmp_path_factory.mktemp("sweep")
    shapes = {name: Shape(query_only=True, split=split) for name, split in CLIPS.items()}
    prepare(ToySource(shapes), root / "datasets" / "toy", plans=("paper-2",), workers=1)
    dataset = RememberingDataset(root / "datasets" / "toy")
    make_store(root, dataset, "deep", {1: noise_maps(6), 2: noise_maps(5), 4: noise_maps(4)})
    make_store(root, dataset, "wide", {None: noise_maps(12, (3, 5))})
    make_store(root, dataset, "other", {None: noise_maps(7)})
    return root


@pytest.fixture
def root(toy: Path, tmp_path: Path) -> Path:
    return fresh(toy, tmp_path / "artifacts")


def fresh(toy: Path, root: Path) -> Path:
    """A private root that shares dataset and stores."""
    root.mkdir()
    for name in ("datasets", "features"):
        (root / name).symlink_to(toy / name)
    return root


# ---- which layers


def noisy_store(root: Path, source: str, blocks: dict[int, list[float]], total: int) -> FeatureStore:
    """An empty store whose arrays stand at some blocks and noise levels."""
    specs = [
        ArraySpec(
            name="", tap="dit", block=block, blocks_total=total, noise_level=level, grid=(2, 2), rows=20, channels=2,
            dtype="float32", row_of_slot=tuple(range(20)), source_frames=tuple((p,) for p in QUERY_POSITIONS),
            extra={"timestep": round(1000 * level)},
        )
        for block, levels in blocks.items()
        for level in levels
    ]  # fmt: skip
    fingerprint = {"source": source}
    where = store_path(root, "toy", source, fingerprint)
    return FeatureStore.create(
        where, source=source, dataset="toy", fingerprint=fingerprint, clips=[ClipEntry("a", "a")],
        arrays=specs,
    )  # fmt: skip


def names(arrays: list[ArraySpec]) -> list[str]:
    return [array.name.removesuffix(".2x2") for array in arrays]


def test_layers_and_noise_levels(tmp_path: Path) -> None:
    store = noisy_store(tmp_path, "cogvideox-t2v-2b-tiny-random", {3: [0.5], 4: [0.25, 0.5], 6: [0.5]}, 6)
    assert names(choose_arrays(store, ["all"])) == ["dit.b3.s0500", "dit.b4.s0250", "dit.b4.s0500", "dit.b6.s0500"]
    assert names(choose_arrays(store, [], ["0.25"], many=True)) == ["dit.b4.s0250"]
    assert names(choose_arrays(store, ["4"], ["t:500"])) == ["dit.b4.s0500"]
    assert names(choose_arrays(store, ["even2"], ["s0500"])) == ["dit.b3.s0500", "dit.b6.s0500"]
    # blocks 19 and 21 of 30 are block 4 of 6
    assert names(choose_arrays(store, ["paper"], task="geometry", many=True)) == ["dit.b4.s0250", "dit.b4.s0500"]
    with pytest.raises(ConfigError, match="several arrays"):
        choose_arrays(store, ["4"])
    with pytest.raises(ConfigError, match="a different level in each model"):
        choose_arrays(store, ["all"], ["index:749"])
    with pytest.raises(ConfigError, match="no layer '7'"):
        choose_arrays(store, ["7"])


@pytest.mark.parametrize(
    ("source", "native", "grids", "own"),
    [
        ("cogvideox-t2v-2b-random", (30, 45), [(8, 8), (15, 22), (30, 45)], "15x22"),  # the paper's
        ("cogvideox-t2v-2b-tiny-random", (6, 9), [(6, 9), (2, 2), (3, 4)], "3x4"),  # in the same ratio
        ("dinov2", (6, 9), [(3, 4), (6, 9)], "6x9"),  # no grid of the paper: the native one
    ],
)
def test_an_extra_grid_makes_nothing_ambiguous(
    tmp_path: Path, source: str, native: tuple[int, int], grids: list[tuple[int, int]], own: str
) -> None:
    """A plain call reads the model's own grid; the others are chosen by name, or by layers=all."""
    specs = [
        ArraySpec(
            name="", tap="dit", block=block, blocks_total=6, noise_level=0.5, grid=grid, rows=20, channels=2,
            dtype="float32", row_of_slot=tuple(range(20)), source_frames=tuple((p,) for p in QUERY_POSITIONS),
            pooling="none" if grid == native else f"adaptive average from {native[0]}x{native[1]}",
        )
        for block in (4, 5)
        for grid in grids
    ]  # fmt: skip
    store = FeatureStore.create(
        tmp_path, source=source, dataset="toy", fingerprint={}, clips=[ClipEntry("a", "a")], arrays=specs
    )
    four = f"dit.b4.s0500.{own}"
    assert names(choose_arrays(store, ["4"])) == [four]
    assert names(choose_arrays(store, ["dit"])) == [four, f"dit.b5.s0500.{own}"]
    other = next(spec.name for spec in specs if spec.block == 4 and spec.name != four)
    assert names(choose_arrays(store, [other])) == [other]
    assert len(choose_arrays(store, ["all"])) == len(specs)
    assert len(choose_arrays(store, ["4"], many=True)) == len(grids)
    with pytest.raises(ConfigError, match="several arrays"):  # of several blocks
        choose_arrays(store, [])
    single = FeatureStore.create(
        tmp_path / "single", source=source, dataset="toy", fingerprint={}, clips=[ClipEntry("a", "a")],
        arrays=[spec for spec in specs if spec.block == 4],
    )  # fmt: skip
    assert names(choose_arrays(single, [])) == [four]


def test_what_a_store_lacks_is_told_with_the_command(tmp_path: Path) -> None:
    store = noisy_store(tmp_path, "cogvideox-t2v-2b-tiny-random", {2: [0.5], 4: [0.25, 0.5]}, 6)
    command = commands.extract("run", model="cogvideox-t2v-2b", dataset="toy", weights="random", size="tiny")
    with pytest.raises(MissingError) as error:
        choose_arrays(store, ["even4"])  # 2, 3, 4 and 6
    assert "block 3,6" in str(error.value) and f"{command} layers=3,6" in str(error.value)
    with pytest.raises(MissingError) as error:
        choose_arrays(store, ["2", "4"], ["0.25"], many=True)
    assert f"{command} layers=2 noise=0.25" in str(error.value)


def test_paper_blocks_of_an_unknown_model(toy: Path) -> None:
    from fusion.opening import open_source

    with pytest.raises(ConfigError, match="paper's blocks of deep are not known"):
        choose_arrays(open_source(toy, "toy", "deep"), ["paper"])
    assert len(choose_arrays(open_source(toy, "toy", "wide"), ["paper"])) == 1  # one depth only


# ---- many sources


def test_several_sources_share_a_pass_and_equal_separate_runs(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from data.dataset.samples import ClipSamples

    made = []
    original = ClipSamples.sample

    def counted(self: ClipSamples, clip_id: str, epoch: int) -> Any:
        made.append(clip_id)
        return original(self, clip_id, epoch)

    monkeypatch.setattr(ClipSamples, "sample", counted)
    together, apart = fresh(toy, tmp_path / "together"), fresh(toy, tmp_path / "apart")
    options = {"trunk__dropout": 0.2, "layers": "all"}
    all_at_once = trained(together, model="deep, wide other", **options)
    at_once = len(made)
    made.clear()
    one_by_one = [result for name in ("deep", "wide", "other") for result in trained(apart, model=name, **options)]
    assert at_once == len(made) / 3  # targets are made once for all sources
    assert [r["run_id"] for r in all_at_once] == [r["run_id"] for r in one_by_one]
    assert [r["source"] for r in all_at_once] == ["deep"] * 3 + ["wide", "other"]
    assert {r["probes_in_pass"] for r in all_at_once} == {5}
    for a, b in zip(all_at_once, one_by_one, strict=True):
        assert same(weights(together, a["run_id"]), weights(apart, b["run_id"])), a["source"]
        assert a["report"] == b["report"] and a["select"] == b["select"]
        assert a["config"]["model"] == [a["source"]]


def test_a_store_is_of_one_model(root: Path) -> None:
    with pytest.raises(ConfigError, match="store= names one store"):
        trained(root, model="wide other", store="ab")


def test_memory_decides_how_many_passes(root: Path) -> None:
    found = trained(root, model="deep wide", layers="all", memory=1e-6)
    assert len(found) == 4 and {r["probes_in_pass"] for r in found} == {1}


# ---- sweeps


def test_sweep_equals_single_runs_and_is_not_repeated(
    toy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = fresh(toy, tmp_path / "one"), fresh(toy, tmp_path / "two")
    outcome = swept(one, model="deep wide", seeds="0,1")
    assert not outcome.failed and len(outcome.results) == 8
    (alone,) = trained(two, model="deep", layers="2", seeds="1")
    (swept_run,) = [r for r in outcome.results if r["run_id"] == alone["run_id"]]
    assert swept_run["report"] == alone["report"]
    assert same(weights(one, alone["run_id"]), weights(two, alone["run_id"]))
    again = swept(one, model="deep wide", seeds="0,1")
    assert [r["finished_at"] for r in again.results] == [r["finished_at"] for r in outcome.results]
    assert print_outcome(again, str(one)) == 0
    out = capsys.readouterr().out
    assert out.count("\n*  ") == 2  # one choice per source
    assert "deep.b4.4x4" in out and "select mAP" in out


def test_interrupted_sweep_continues(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from probe.train.loop import Learner

    whole, broken = fresh(toy, tmp_path / "whole"), fresh(toy, tmp_path / "broken")
    expected = swept(whole, model="deep")
    original, calls = Learner.step, []

    def interrupted(self: Learner, fabric: Any, batch: Any) -> None:
        calls.append(self)
        if len(calls) == 3:
            raise KeyboardInterrupt
        original(self, fabric, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            swept(broken, model="deep")
    assert not (broken / "results").exists()
    resumed = swept(broken, model="deep")
    assert [r["report"] for r in resumed.results] == [r["report"] for r in expected.results]
    for result in resumed.results:
        assert same(weights(whole, result["run_id"]), weights(broken, result["run_id"]))


def test_a_failing_layer_costs_its_own_probes_only(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from probe.train.member import Member

    original = Member.inputs

    def poisoned(self: Member, batch: Any) -> Any:
        if self.plan.inputs["array"] == "deep.b2.4x4":
            raise NonFiniteError("features hold NaN")
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "inputs", poisoned)
        outcome = swept(root, model="deep")
    assert [r["block"] for r in outcome.results] == [1, 4]
    assert list(outcome.failed) == ["deep, deep.b2.4x4, depth 1, seed 42"]
    assert print_outcome(outcome, str(root)) == 1
    assert "features hold NaN" in capsys.readouterr().out
    healed = swept(root, model="deep")
    assert len(healed.results) == 3 and not healed.failed


def spread_equals_alone(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = fresh(toy, tmp_path / "here"), fresh(toy, tmp_path / "there")
    monkeypatch.setattr("probe.studies.sweep.available_cores", lambda: 1)  # as many threads in the workers as here
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = swept(here, model="deep", layers="1,4")
        spread = swept(there, model="deep", layers="1,4", workers=2)
    finally:
        torch.set_num_threads(threads)
    assert [r["run_id"] for r in spread.results] == [r["run_id"] for r in alone.results]
    assert [r["probes_in_pass"] for r in spread.results] == [1, 1]
    for result in alone.results:
        assert same(weights(here, result["run_id"]), weights(there, result["run_id"]))
    assert survey(str(there)).whole and (there / "results" / PARQUET).is_file()


def test_jobs_train_the_same_probes(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []

    def one_after_the_other(work: Any, items: list[str], workers: int, cluster: str) -> Iterator[tuple[str, Any]]:
        sent.append((len(items), workers, cluster))
        for item in items:
            yield item, pickle.loads(pickle.dumps(work))(item)

    monkeypatch.setattr("probe.studies.sweep.run_jobs", one_after_the_other)
    spread_equals_alone(toy, tmp_path, monkeypatch)
    assert sent == [(2, 2, "local")]


@pytest.mark.full
def test_processes_train_the_same_probes(toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spread_equals_alone(toy, tmp_path, monkeypatch)


def test_nobody_answers_at_the_address(root: Path) -> None:
    with pytest.raises(ConfigError, match="unknown cluster"):
        swept(root, model="deep", cluster="slurm", workers=1)


class _Plan:
    def __init__(self, array: str) -> None:
        self.inputs = {"store": "s", "array": array}


def test_jobs_hold_whole_layers() -> None:
    plans: Any = [_Plan(array) for array in "aaaabbbbccccdddd"]
    jobs = cut(plans, 3)
    assert [plan for job in jobs for plan in job] == plans and len(jobs) == 3
    layers = [{plan.inputs["array"] for plan in job} for job in jobs]
    assert sum(map(len, layers)) == 4
    assert len(cut(plans, 9)) == 4


def test_choice_is_made_on_the_select_split() -> None:
    def row(array: str, select: float, report: float, metric: str = "map") -> dict[str, Any]:
        facts = {"source": "m", "array": array, "depth": "1", "control": ""}
        return facts | {"select": {metric: {"value": select}}, "report": {metric: {"value": report}}}

    points = {("m", a, "1", ""): [row(a, s, r)] for a, s, r in (("x", 0.4, 0.9), ("y", 0.6, 0.1))}
    assert chosen(points, "map") == {("m", "y", "1", "")}
    errors = {("m", a, "1", ""): [row(a, s, 0, "abs_rel")] for a, s in (("x", 0.4), ("y", 0.6))}
    assert chosen(errors, "abs_rel") == {("m", "x", "1", "")}  # smaller is better
    undefined = row("x", 0.1, 0.1) | {"report": {"map": {"value": None}}}
    assert mean([row("x", 0.1, 0.5), undefined], "report", "map") is None
    assert mean([row("x", 0.1, 0.5), row("x", 0.1, 0.7)], "report", "map") == pytest.approx(0.6)


def test_sweep_options_are_no_part_of_a_run(root: Path, configure_help: Callable[[str], str]) -> None:
    assert "cluster" in configure_help("sweep") and "cluster" not in configure_help("train")


@pytest.fixture
def configure_help(capsys: pytest.CaptureFixture[str]) -> Callable[[str], str]:
    def text(verb: str) -> str:
        from configs.cli import main
        from probe.__main__ import VERBS

        assert main("probe", "", VERBS, [verb, "task=tagging", "--help"]) == 0
        return capsys.readouterr().out

    return text


def test_a_finished_sweep_is_shown_without_torch(root: Path) -> None:
    """What is done already is found in a second: nothing that trains is loaded, for fused sources neither."""
    options = {"model": "other wide+other", "recipe.precision": "float32"}
    assert len(swept(root, **options).results) == 2
    call = f"main('probe', '', VERBS, {['sweep', *(f'{k}={v}' for k, v in words(root, **options).items())]!r})"
    light = "import sys; sys.modules |= {'torch': None, 'lightning': None}"
    code = f"{light}; from configs.cli import main; from probe.__main__ import VERBS; sys.exit({call})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "wide+other" in done.stdout and "2 of 2 runs are finished already" in done.stderr
