"""Runs from store to results: identity, resumption, side by side, logs and checkpoints."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from configs.errors import ConfigError, CorruptionError, MissingError, NonFiniteError, StaleError
from configs.loader import resolve
from probe.config import EvaluateConfig
from probe.results import results
from probe.results.apply import evaluate
from probe.train.run_folder import load_checkpoint, save_checkpoint
from probe.train.schedule import Schedule
from probe.train.train import train

Configure = Callable[..., Any]


def weights(root: Path, run_id: str, name: str = "last.ckpt") -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = load_checkpoint(root / "runs" / run_id / name, run_id)["weights"]
    return state


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("task", "keys"),
    [
        ("tagging", {"map", "ap_mid", "mid_ratio", "of1", "random_map", "loss"}),
        ("instance", {"t_miou", "t_sr", "t_miou_ceiling", "loss"}),
        ("geometry", {"pmap_err", "abs_rel", "auc_30", "loss", "loss_camera"}),
    ],
)
def test_run_leaves_everything_behind(artifacts: Path, configure: Configure, task: str, keys: set[str]) -> None:
    (result,) = train(configure(artifacts, task, pictures=1))
    folder = artifacts / "runs" / result["run_id"]
    assert keys <= result["report"].keys() and keys <= result["select"].keys()
    assert (artifacts / "results" / f"{result['run_id']}.json").read_bytes() == results.to_json(result)
    rows = list(csv.DictReader((folder / "log.csv").open()))
    assert len(rows) == result["rounds"] == 4 and float(rows[-1]["lr"]) <= 1e-5
    assert len((folder / "log.jsonl").read_text().splitlines()) == 4
    clips = pd.read_parquet(folder / "clips.parquet")
    assert set(clips["clip_id"]) == {f"room_{i:02d}" for i in range(6, 12)}
    assert clips[clips["value"].isna()]["reason"].notna().all()
    predictions = pd.read_parquet(folder / "predictions.parquet")
    assert len(predictions) == 6 and all(len(queries) == 2 for queries in predictions["queries"])
    table = pd.read_parquet(artifacts / "results" / "results.parquet")
    assert list(table["run_id"]) == [result["run_id"]]
    assert (folder / "config.yaml").is_file() and list((folder / "pictures").glob("*.png"))
    if task == "geometry":
        head = next(iter((folder / "points").glob("*-predicted.ply"))).read_bytes()[:200]
        assert head.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex ")
    for name in ("last.ckpt", "best.ckpt"):
        torch.load(folder / name, weights_only=True)


def test_finished_run_is_returned_unless_forced(trained: Path, configure: Configure) -> None:
    (first,) = train(configure(trained, "tagging"))
    (again,) = train(configure(trained, "tagging", pictures=2))  # pictures are no part of a run's identity
    assert again["finished_at"] == first["finished_at"] and again["run_id"] == first["run_id"]
    (forced,) = train(configure(trained, "tagging", force=True))
    assert forced["run_id"] == first["run_id"] and forced["seconds"] != first["seconds"]
    assert forced["report"] == first["report"]


def test_another_configuration_is_another_run(trained: Path, configure: Configure) -> None:
    from probe.train.plan import plan_runs

    def run_id(**change: Any) -> str:
        (plan,) = plan_runs(configure(trained, "tagging", **change)).plans
        return str(plan.run_id)

    (first,) = train(configure(trained, "tagging"))
    assert run_id() == first["run_id"]
    changed: list[dict[str, Any]] = [
        {"recipe__lr": 1e-3},
        {"fraction": 0.5},
        {"data_seed": 1},
        {"split_scheme": "paper"},
    ]
    assert len({run_id(**change) for change in changed} | {first["run_id"]}) == 5
    (other,) = train(configure(trained, "tagging", **changed[0]))
    assert other["run_id"] == run_id(**changed[0]) and other["finished_at"] != first["finished_at"]


class _Stop(Exception):
    pass


@pytest.mark.parametrize("task", ["tagging", "instance", "geometry"])
def test_resumed_run_ends_bit_identical(
    artifacts: Path, tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("datasets", "features"):
        (other / name).symlink_to(artifacts / name)
    options = {"trunk__dropout": 0.2, "recipe__length": 5}
    (whole,) = train(configure(artifacts, task, **options))

    from probe.train.loop import Learner

    original, calls = Learner.step, []

    def interrupted(self: Learner, fabric: Any, batch: Any) -> None:
        calls.append(self)
        if len(calls) == 4:
            raise _Stop
        original(self, fabric, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "step", interrupted)
        with pytest.raises(_Stop):
            train(configure(other, task, **options))
    assert not (other / "results").exists()
    (resumed,) = train(configure(other, task, **options))
    assert resumed["run_id"] == whole["run_id"]
    assert same(weights(artifacts, whole["run_id"]), weights(other, whole["run_id"]))
    assert same(weights(artifacts, whole["run_id"], "best.ckpt"), weights(other, whole["run_id"], "best.ckpt"))
    assert resumed["report"] == whole["report"] and resumed["select"] == whole["select"]
    name = Path("runs") / whole["run_id"] / "log.csv"
    assert (artifacts / name).read_text() == (other / name).read_text()


def _stop_at(call: int, patch: pytest.MonkeyPatch) -> None:
    from probe.train.loop import Learner

    original, calls = Learner.step, []

    def interrupted(self: Learner, fabric: Any, batch: Any) -> None:
        calls.append(self)
        if len(calls) == call:
            raise KeyboardInterrupt
        original(self, fabric, batch)

    patch.setattr(Learner, "step", interrupted)


def test_forced_run_that_is_interrupted_is_not_finished(
    trained: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = train(configure(trained, "tagging"))
    evaluate(resolve(EvaluateConfig, [], {"root": str(trained), "run": first["run_id"], "device": "cpu"}))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="without force=true"):
        _stop_at(3, patch)
        train(configure(trained, "tagging", force=True))
    assert results.find(str(trained), first["run_id"]) is None
    assert not (trained / "runs" / first["run_id"] / "evaluations").exists()
    (again,) = train(configure(trained, "tagging"))
    assert again["finished_at"] and again["report"] == first["report"]


def test_twin_that_lags_behind_its_original_is_still_compared(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.train.member import Member

    original, saved = Member.save_last, []

    def killed(self: Member, optimizer: Any, scheduler: Any) -> None:
        saved.append(self.run_id)
        if len(saved) == 4:  # the original is a round ahead of its twin
            raise KeyboardInterrupt
        original(self, optimizer, scheduler)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Member, "save_last", killed)
        train(configure(artifacts, "tagging", control=True))
    real, twin = train(configure(artifacts, "tagging", control=True))
    assert real["probes_in_pass"] == twin["probes_in_pass"] == 1
    assert twin["control_of"] == real["run_id"] and twin["selectivity"]


def test_weights_of_another_round_are_never_scored_as_the_best(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.train.session import Session

    original = Session.scores

    def replaced(self: Session, members: Any, data: Any, clips: Any, *, full: bool, among: Any = None) -> Any:
        (member,) = members
        if member.rounds_done == 3:  # another process that trains the same run
            path = member.folder / "best.ckpt"
            state = load_checkpoint(path, member.run_id)
            patch.setattr(member, "is_better", lambda score: False)
            save_checkpoint(path, member.run_id, {**state, "round": state["round"] + 1})
        return original(self, members, data, clips, full=full, among=among)

    with monkeypatch.context() as patch, pytest.raises(StaleError, match="best weights"):
        patch.setattr(Session, "scores", replaced)
        train(configure(artifacts, "instance"))
    (result,) = train(configure(artifacts, "instance"))  # the file says itself of which round it is
    state = load_checkpoint(artifacts / "runs" / result["run_id"] / "best.ckpt", result["run_id"])
    assert result["best_round"] == state["round"]


def test_content_of_class_embeddings_is_part_of_a_run(artifacts: Path, tmp_path: Path, configure: Configure) -> None:
    path = tmp_path / "embeddings.npy"
    found = []
    for seed in (0, 1):
        np.save(path, np.random.default_rng(seed).standard_normal((20, 6)).astype(np.float32))
        options = {"head__class_queries": "embeddings", "head__class_embeddings": path, "head__layers": 1}
        found += train(configure(artifacts, "tagging", **options))
    assert found[0]["run_id"] != found[1]["run_id"]
    path.unlink()
    with pytest.raises(MissingError, match="class embeddings"):
        train(configure(artifacts, "tagging", **options))


@pytest.mark.parametrize("device", ["meta", "mps", "xyz"])
def test_devices_that_probes_cannot_use(artifacts: Path, configure: Configure, device: str) -> None:
    with pytest.raises(ConfigError, match=device):
        train(configure(artifacts, "tagging", device=device))
    assert not (artifacts / "runs").exists()


def test_side_by_side_equals_alone(artifacts: Path, tmp_path: Path, configure: Configure) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("datasets", "features"):
        (other / name).symlink_to(artifacts / name)
    options = {"model": "deep", "trunk__dropout": 0.2}
    together = train(configure(artifacts, "tagging", layers="all", seeds="0,1", **options))
    assert len({r["run_id"] for r in together}) == 4 and {r["probes_in_pass"] for r in together} == {4}
    (alone,) = train(configure(other, "tagging", layers="2", seeds="1", **options))
    assert alone["run_id"] == together[3]["run_id"] and alone["report"] == together[3]["report"]
    assert same(weights(artifacts, alone["run_id"]), weights(other, alone["run_id"]))
    # seeds differ in weights, and nothing else does
    assert not same(weights(artifacts, together[2]["run_id"]), weights(artifacts, together[3]["run_id"]))


def test_data_is_read_once_for_many_probes(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache.store import FeatureStore

    original, read = FeatureStore.read, []

    def counted(self: FeatureStore, items: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(len(items))
        return original(self, items, *args, **kwargs)

    monkeypatch.setattr(FeatureStore, "read", counted)
    train(configure(artifacts, "tagging", seeds="0"))
    one = sum(read)
    read.clear()
    train(configure(artifacts, "tagging", seeds="1,2,3"))
    assert sum(read) == one


def test_first_step_waits_for_its_own_batches_only(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cache.store import FeatureStore
    from probe.train.loop import Learner
    from probe.train.plan import plan_runs

    original, read = FeatureStore.read, []

    def counted(self: FeatureStore, items: Any, *args: Any, **kwargs: Any) -> Any:
        read.append(len(items))
        return original(self, items, *args, **kwargs)

    def stop(self: Learner, fabric: Any, batch: Any) -> None:
        raise _Stop

    monkeypatch.setattr(FeatureStore, "read", counted)
    monkeypatch.setattr(Learner, "step", stop)
    plan_runs(configure(artifacts, "tagging", model="deep", layers="all"))
    assert not read  # nothing is read to find out what to do
    with pytest.raises(_Stop):
        train(configure(artifacts, "tagging", model="deep", layers="all", recipe__length=40))
    batches_ahead, batch, arrays = 3, 2, 2
    assert sum(read) <= batches_ahead * batch * arrays


def test_checkpoint_of_another_run_is_refused(trained: Path, configure: Configure) -> None:
    (first,) = train(configure(trained, "tagging"))
    path = trained / "runs" / first["run_id"] / "last.ckpt"
    with pytest.raises(StaleError, match="another run"):
        load_checkpoint(path, "0" * 16)


@pytest.mark.parametrize("content", [b"", b"hello", b"h\x05.", b"PK\x03\x04"])
def test_damaged_checkpoint_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(content)
    with pytest.raises(CorruptionError, match="not a readable checkpoint"):
        load_checkpoint(path, "0" * 16)


def test_divergence_is_told(artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    from probe.tasks.tagging.module import Module

    def broken(self: Module, outputs: Any, targets: Any) -> dict[str, torch.Tensor]:
        return {"loss": outputs["logits"].sum() * float("inf")}

    monkeypatch.setattr(Module, "loss", broken)
    with pytest.raises(NonFiniteError, match="diverged"):
        train(configure(artifacts, "tagging"))


def test_selection_metric_must_exist(artifacts: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match=r"recipe\.select"):
        train(configure(artifacts, "tagging", recipe__select="select/t_miou"))


def test_schedule_visits_every_clip_once_per_epoch(configure: Configure) -> None:
    recipe = configure(Path("/nowhere"), "tagging", recipe__length=7).probe.recipe
    schedule = Schedule([f"c{i}" for i in range(6)], recipe, seed=3)
    samples = [sample for round_ in range(schedule.rounds) for sample in schedule.samples(round_)]
    assert len(samples) == 7 * 2 and schedule.first_step(schedule.rounds) == 7
    assert sorted(clip for clip, epoch in samples if epoch == 0) == [f"c{i}" for i in range(6)]
    recipe = dataclasses.replace(recipe, unit="epochs")
    by_epoch = Schedule([f"c{i}" for i in range(6)], recipe, seed=3)
    assert by_epoch.rounds == 7 and by_epoch.total_steps == 21
    assert by_epoch.samples(0) == samples[:6]


def test_probe_may_be_told_when_queries_were_taken(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.net.trunk import Trunk

    original = Trunk.forward
    seen: list[torch.Tensor | None] = []

    def noted(
        self: Trunk, features: torch.Tensor, stages: Sequence[int] = (-1,), query_times: torch.Tensor | None = None
    ) -> list[torch.Tensor]:
        seen.append(query_times)
        return original(self, features, stages, query_times)

    monkeypatch.setattr(Trunk, "forward", noted)
    train(configure(artifacts, "tagging", trunk__query_time=True))
    assert all(times is not None and int(times[0, 0]) == 0 and int(times[0, 1]) >= 5 for times in seen)
    seen.clear()
    train(configure(artifacts, "tagging"))
    assert seen == [None] * len(seen)
