"""A dataset that was prepared again: its features are refused, its results are listed apart and never ranked."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from configs.cli import main
from configs.errors import StaleError
from configs.files import read_sealed, sealed_json, sha256_bytes
from data.dataset.queries import load_plan, plan_file
from data.dataset.reader import DatasetIndex, PreparedDataset
from data.dataset.tables import parquet_bytes
from data.prepare.prepare import prepare
from probe.config import EvaluateConfig
from probe.inputs.inputs import RememberingDataset
from probe.report.build import build
from probe.report.config import CompareConfig, ReportConfig
from probe.report.freshness import inputs_of
from probe.report.runs.collect import collect
from probe.results.apply import evaluate
from probe.results.stale import staleness
from probe.results.survey import survey
from probe.studies.compare import compare
from probe.train.plan import plan_runs
from probe.train.train import train
from tests.data.toy import ToySource
from tests.dataset_stores import make_store, noise_maps
from tests.probe.conftest import toy_shapes
from tests.probe.networks import TINY

Configure = Callable[..., Any]


def prepared(root: Path, seed: int) -> PreparedDataset:
    """Remove the dataset and prepare it again with another seed."""
    path = root / "datasets" / "toy"
    shutil.rmtree(path)
    prepare(ToySource(toy_shapes(), seed=seed), path, plans=("paper-2",), workers=1)
    return PreparedDataset(path)


def rewrite_index(path: Path, change: Callable[[pd.DataFrame], None]) -> None:
    """Change the index of a dataset and the manifest with it."""
    index = pd.read_parquet(path / "index.parquet")
    change(index)
    content = parquet_bytes(index)
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["digest"]
    manifest["tables"]["index.parquet"] = sha256_bytes(content)
    (path / "index.parquet").write_bytes(content)
    (path / "manifest.json").write_bytes(sealed_json(manifest))


@pytest.fixture
def finished(own_artifacts: Path, trained_once: Path) -> Path:
    """A private root with the runs of all three tasks on `speckle`, whose dataset may be changed."""
    for name in ("runs", "results"):
        shutil.copytree(trained_once / name, own_artifacts / name)
    return own_artifacts


def why(root: Path) -> set[str]:
    found = staleness(str(root), survey(str(root)).whole)
    assert not found.unchecked
    return set(found.stale.values())


def test_results_of_the_dataset_as_it_is_are_fresh(finished: Path) -> None:
    assert why(finished) == set()
    assert not collect(str(finished)).stale and len(collect(str(finished)).runs) == 3


def test_other_parameters_are_named(finished: Path) -> None:
    prepared(finished, 5)
    assert why(finished) == {"toy was prepared again with other parameters: seed: 0 -> 5"}


def test_other_ground_truth_under_the_same_parameters(finished: Path, configure: Configure) -> None:
    def change(index: pd.DataFrame) -> None:
        index.loc[index["clip_id"] == "room_10", "clip_sha256"] = "f" * 64

    before = {plan.run_id for plan in plan_runs(configure(finished, "tagging")).plans}
    rewrite_index(finished / "datasets" / "toy", change)
    assert why(finished) == {"frames or ground truth of toy have changed"}
    make_store(finished, RememberingDataset(finished / "datasets" / "toy"), "again", {None: noise_maps()})
    after = {plan.run_id for plan in plan_runs(configure(finished, "tagging", model="again")).plans}
    assert not before & after
    with pytest.raises(StaleError, match=r"1 of 12 clips differ \(room_10\)"):
        plan_runs(configure(finished, "tagging"))
    (run, *_) = survey(str(finished)).whole
    with pytest.raises(StaleError, match="1 of 12 clips differ"):
        evaluate(EvaluateConfig(root=str(finished), run=run["run_id"], device="cpu"))


def test_the_run_id_depends_on_the_ground_truth(finished: Path, configure: Configure) -> None:
    """Even where the features are those of a store that knows no better."""
    (plan,) = plan_runs(configure(finished, "tagging")).plans
    dataset = DatasetIndex(finished / "datasets" / "toy")
    assert plan.inputs["truth"] == dataset.content_digest(list(dataset.clips["clip_id"]))
    dataset.clips.loc["room_11", "clip_sha256"] = "0" * 64
    changed = {**plan.inputs, "truth": dataset.content_digest(list(dataset.clips["clip_id"]))}
    assert dataclasses.replace(plan, inputs=changed).run_id != plan.run_id


def test_other_splits(finished: Path) -> None:
    def change(index: pd.DataFrame) -> None:
        index.loc[index["clip_id"] == "room_00", "split"] = "report"

    rewrite_index(finished / "datasets" / "toy", change)
    assert why(finished) == {"the splits of toy hold other clips now"}


def test_another_query_plan(finished: Path) -> None:
    dataset = PreparedDataset(finished / "datasets" / "toy")
    path = plan_file(dataset, "paper-2")
    options = ReportConfig(root=str(finished))
    before = inputs_of(options)
    plan = read_sealed(path, fix="")
    clip = next(iter(plan["clips"].values()))
    clip["queries"] = [[0, 73] for _ in clip["queries"]]
    path.write_bytes(sealed_json(plan))
    assert why(finished) == {"query plan paper-2 of toy has changed"}
    assert inputs_of(options) != before  # the report is made again
    path.unlink()
    assert why(finished) == set()  # it is made again, with the same queries
    load_plan(dataset, "paper-2")
    assert why(finished) == set()


def test_without_the_dataset_results_stay_usable(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(finished / "datasets" / "toy")
    found = collect(str(finished))
    assert len(found.runs) == 3 and not found.stale
    assert any("Dataset toy can't be compared" in gap and "not prepared here" in gap for gap in found.gaps)
    assert command("probe", "runs", f"root={finished}") == 0
    printed = capsys.readouterr().out
    assert "dataset toy can't be compared" in printed and "stale" not in printed


def test_an_unreadable_dataset_is_said_and_nothing_is_dropped(finished: Path) -> None:
    (finished / "datasets" / "toy" / "index.parquet").write_bytes(b"damaged")
    found = collect(str(finished))
    assert len(found.runs) == 3 and any("not the one that was written" in gap for gap in found.gaps)


def test_stale_results_are_never_ranked(
    finished: Path, configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    old = {result["task"]: result["run_id"] for result in survey(str(finished)).whole}
    make_store(finished, prepared(finished, 5), "fresh", {None: noise_maps()})
    (new,) = train(configure(finished, "tagging", model="fresh", resamples=20))
    assert new["run_id"] not in old.values()

    assert command("probe", "runs", f"root={finished}") == 0
    fresh, _, stale = capsys.readouterr().out.partition("3 stale results, not to be compared with others")
    assert new["run_id"] in fresh and not any(run in fresh for run in old.values())
    assert all(run in stale for run in old.values()) and "seed: 0 -> 5" in stale
    commands = re.findall(r"spatialprobe (probe train task=tagging model=speckle dataset=toy .*)", stale)
    assert len(commands) == 1 and "store=" not in commands[0] and f"root={finished}" in commands[0]

    data = build(str(finished), resamples=20)
    assert set(data.table("runs")["run_id"]) == {new["run_id"]}
    gaps = [statement.text for statement in data.said("gap")]
    assert sum("is stale and left out: toy was prepared again" in gap for gap in gaps) == 3
    assert any(old["tagging"] in gap and "Train it again: spatialprobe probe train" in gap for gap in gaps)

    with pytest.raises(StaleError, match=f"run {old['tagging']} is stale") as caught:
        compare(CompareConfig(root=str(finished), a=old["tagging"], b=new["run_id"]))
    assert "seed: 0 -> 5" in str(caught.value) and "probe train task=tagging" in (caught.value.fix or "")
    with pytest.raises(StaleError, match="is stale"):
        compare(CompareConfig(root=str(finished), a=new["run_id"], b="task=tagging,model=speckle"))


def command(stage: str, *words: str) -> int:
    """Run a command as it is typed."""
    module = import_module(f"{stage}.__main__")
    return main(stage, "", module.VERBS, list(words))


def test_a_dataset_prepared_again_with_another_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a new user types, with the commands that the messages name."""
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path))
    rooms = ["prepare", "kind=rooms", "clips=16", "height=32", "width=32", "render=query", "workers=1", "dataset=r"]
    extract = ["run", "model=pixels", "dataset=r"]
    small = [f"{key}={value}" for key, value in TINY.items()]
    probe = ["train", "task=instance", "profile=debug", "model=pixels", "dataset=r", *small]

    def typed(stage: str, words: Sequence[str], code: int = 0) -> str:
        found = command(stage, *words)
        printed = "".join(capsys.readouterr())
        assert found == code, printed
        return printed

    typed("data", [*rooms, "seed=0"])
    typed("extract", extract)
    first = run_of(typed("probe", probe))
    shutil.rmtree(tmp_path / "datasets" / "r")
    typed("data", [*rooms, "seed=5"])
    for words in (probe, ["sweep", *probe[1:]], ["evaluate", f"run={first}"], ["predict", f"run={first}"]):
        printed = typed("probe", words, code=1)
        assert re.search(r"16 of 16 clips differ .*changed in the dataset: seed: 0 -> 5\n", printed)
        (fix,) = re.findall(r"spatialprobe (extract run .*)", printed)
    printed = typed("fusion", ["fuse", "model=pixels@zscore", "dataset=r"], code=1)
    assert "16 of 16 clips differ" in printed and "seed: 0 -> 5" in printed

    typed("extract", shlex.split(fix)[1:])
    again = run_of(typed("probe", probe))
    assert again != first
    fresh, _, stale = typed("probe", ["runs"]).partition("1 stale results")
    assert again in fresh and first not in fresh and first in stale and "seed: 0 -> 5" in stale
    assert run_of(typed("probe", probe)) == again  # finished already
    typed("probe", ["report", "resamples=20"])
    text = (tmp_path / "report" / "report.md").read_text()
    assert f"Run {first} (instance on pixels) is stale and left out" in text


def run_of(printed: str) -> str:
    found = re.search(r"^([0-9a-f]{16})  pixels", printed, re.MULTILINE)
    assert found, printed
    return found[1]


def test_digests_of_clips_depend_on_content_alone(finished: Path) -> None:
    index = DatasetIndex(finished / "datasets" / "toy")
    clips = list(index.clips["clip_id"])
    assert index.content_digest(clips) == PreparedDataset(index.path).content_digest(clips)
    assert index.content_digest(clips) != index.content_digest(clips[1:])
    assert prepared(finished, 7).content_digest(clips) != index.content_digest(clips)
