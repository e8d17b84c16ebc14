"""Every byte of what a run leaves is checked: flips, edits, hostile names, scores that are not finite."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from configs.errors import CorruptionError, MissingError, NonFiniteError, SpatialprobeError, StaleError, VersionError
from configs.files import sealed, sha256_file
from configs.loader import resolve
from probe.config import EvaluateConfig, PredictConfig, RunsConfig
from probe.metrics.comparison import paired_difference
from probe.metrics.score import ClipScore
from probe.metrics.scores import Scores
from probe.metrics.statistics import estimate_mean
from probe.report.build import build
from probe.report.config import CompareConfig
from probe.report.runs.collect import collect
from probe.results import results, survey
from probe.results.apply import evaluate, predict
from probe.results.runs import print_runs
from probe.studies.compare import compare
from probe.train.run_folder import load_checkpoint, save_checkpoint
from probe.train.train import train

Configure = Callable[..., Any]
PLACES = 6
"""Random flips of each file, besides its first and its last byte."""


def flips(path: Path) -> Iterator[Path]:
    """Flip one bit at a time at seeded places, also the first and last byte; the file is whole again afterwards."""
    data = path.read_bytes()
    random = np.random.default_rng([len(path.name), *path.name.encode()])
    for place in (0, len(data) - 1, *random.integers(0, len(data), PLACES).tolist()):
        changed = bytearray(data)
        changed[place] ^= 1 << int(random.integers(0, 8))
        path.write_bytes(bytes(changed))
        yield path
    path.write_bytes(data)


@pytest.fixture(scope="module")
def drawn_once(toy_artifacts: Path, tmp_path_factory: pytest.TempPathFactory, configure: Configure) -> Path:
    """A tagging and a geometry run with pictures and points; read only."""
    root = tmp_path_factory.mktemp("drawn")
    for name in ("datasets", "features"):
        (root / name).symlink_to(toy_artifacts / name)
    for task in ("tagging", "geometry"):
        train(configure(root, task, pictures=1))
    return root


@pytest.fixture
def drawn(drawn_once: Path, artifacts: Path) -> Path:
    for name in ("runs", "results"):
        shutil.copytree(drawn_once / name, artifacts / name)
    return artifacts


def only(root: Path, task: str) -> dict[str, Any]:
    (found,) = (result for result in survey.survey(str(root)).whole if result["task"] == task)
    return found


def options(schema: type, root: Path, **values: Any) -> Any:
    return resolve(schema, [], {"root": str(root), "device": "cpu", **values})


@pytest.mark.parametrize(
    "name",
    ["run.json", "config.yaml", "log.jsonl", "log.csv", "clips.parquet", "predictions.parquet", "pictures", "points"],
)
def test_a_flip_in_a_file_of_a_run_is_named_and_the_run_left_out(
    drawn: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    result, other = only(drawn, "geometry"), only(drawn, "tagging")
    path = drawn / "runs" / result["run_id"] / name
    path = next(iter(sorted(path.iterdir()))) if path.is_dir() else path
    for _ in flips(path):
        found = survey.survey(str(drawn))
        assert [one["run_id"] for one in found.whole] == [other["run_id"]]
        assert path.name in found.left_out[result["run_id"]] and "probe train" in found.left_out[result["run_id"]]
        collected = collect(str(drawn))
        assert [run.run_id for run in collected.runs] == [other["run_id"]]
        assert result["run_id"] in collected.gaps[0]
        assert pd.read_parquet(drawn / "results" / "results.parquet")["run_id"].tolist() == [other["run_id"]]
        with pytest.raises(CorruptionError, match=path.name):
            compare(CompareConfig(root=str(drawn), a=result["run_id"], b=other["run_id"]))
    print_runs(resolve(RunsConfig, [], {"root": str(drawn)}))
    assert "left out" not in capsys.readouterr().out
    path.write_bytes(path.read_bytes() + b" ")
    print_runs(resolve(RunsConfig, [], {"root": str(drawn)}))
    printed = capsys.readouterr().out
    assert f"left out: run {result['run_id']}: " in printed and "geometry, report split" not in printed
    assert any(result["run_id"] in statement.text for statement in build(str(drawn)).said("gap"))


def test_a_flip_in_a_results_file_is_named_and_the_run_left_out(
    drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = only(drawn, "tagging")
    path = results.result_file(str(drawn), result["run_id"])
    for _ in flips(path):
        with pytest.raises((CorruptionError, VersionError), match="probe train task=tagging model=speckle"):
            results.read(path)
        assert result["run_id"] in survey.survey(str(drawn)).left_out
    value = result["report"]["map"]["value"]
    path.write_text(path.read_text().replace(str(value), "0.99"))
    print_runs(resolve(RunsConfig, [], {"root": str(drawn)}))
    printed = capsys.readouterr().out
    assert f"left out: run {result['run_id']}: " in printed and "0.99" not in printed
    for use in (evaluate, predict):
        with pytest.raises(CorruptionError, match="digest"):
            use(options(EvaluateConfig if use is evaluate else PredictConfig, drawn, run=result["run_id"]))


def test_an_edited_table_of_all_runs_is_written_again(drawn: Path) -> None:
    path = drawn / "results" / "results.parquet"
    collect(str(drawn))
    whole = path.read_bytes()
    for _ in flips(path):
        print_runs(resolve(RunsConfig, [], {"root": str(drawn)}))
        assert path.read_bytes() == whole
    table = pd.read_parquet(path)
    table["report.map"] = 0.99
    table.to_parquet(path)
    collect(str(drawn))
    assert path.read_bytes() == whole


def test_a_flip_in_what_is_remembered_costs_a_second_look_only(drawn: Path) -> None:
    path = drawn / "results" / survey.CHECKED
    for _ in flips(path):
        found = survey.survey(str(drawn))
        assert len(found.whole) == 2 and not found.left_out


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_a_flip_in_a_checkpoint_is_found_on_load(drawn: Path, configure: Configure, name: str) -> None:
    result = only(drawn, "tagging")
    run_id = result["run_id"]
    path = drawn / "runs" / run_id / name
    kept = path.read_bytes()
    for _ in flips(path):
        with pytest.raises(CorruptionError, match="bytes are not those that were written"):
            load_checkpoint(path, run_id)
        if name == "best.ckpt":
            with pytest.raises(CorruptionError, match=r"probe train task=tagging(.|\n)*force=true"):
                predict(options(PredictConfig, drawn, run=run_id))
    path.write_bytes(kept[:-5000] + bytes([kept[-5000] ^ 1]) + kept[-4999:])
    results.result_file(str(drawn), run_id).unlink()
    with pytest.raises(CorruptionError, match=f"delete {path.parent}; the same command"):
        train(configure(drawn, "tagging"))  # goes on from the last checkpoint, and scores the best


def test_a_checkpoint_without_a_digest_or_of_another_training_is_refused(drawn: Path) -> None:
    result = only(drawn, "tagging")
    path = drawn / "runs" / result["run_id"] / "best.ckpt"
    state = load_checkpoint(path, result["run_id"])
    torch.save(state, path)
    with pytest.raises(CorruptionError, match="bytes are not those"):
        load_checkpoint(path, result["run_id"])
    save_checkpoint(path, result["run_id"], {**state, "format": 1})
    with pytest.raises(VersionError, match="another format"):
        load_checkpoint(path, result["run_id"])
    first = next(iter(state["weights"]))
    save_checkpoint(
        path, result["run_id"], {**state, "weights": {**state["weights"], first: state["weights"][first] + 1}}
    )
    with pytest.raises(StaleError, match=r"not the weights that were scored(.|\n)*force=true"):
        evaluate(options(EvaluateConfig, drawn, run=result["run_id"], resamples="20"))


def test_a_checkpoint_is_an_archive_that_torch_reads(drawn: Path) -> None:
    result = only(drawn, "tagging")
    path = drawn / "runs" / result["run_id"] / "best.ckpt"
    assert torch.load(path, weights_only=True)["run_id"] == result["run_id"]
    assert sha256_file(path) == result["weights"]


def test_a_flip_in_kept_scores_is_found(drawn: Path) -> None:
    config = options(EvaluateConfig, drawn, run=only(drawn, "tagging")["run_id"], resamples="20")
    first = evaluate(config)
    (path,) = (drawn / "runs" / first["run_id"] / "evaluations").iterdir()
    for _ in flips(path):
        with pytest.raises((CorruptionError, VersionError), match="then evaluates again"):
            evaluate(config)
    other = options(EvaluateConfig, drawn, run=first["run_id"], resamples="20", split="select")
    evaluate(other)
    (copied,) = set(path.parent.iterdir()) - {path}
    shutil.copy(path, copied)
    with pytest.raises(CorruptionError, match="another question"):
        evaluate(other)
    assert evaluate(config) == first


def test_a_damaged_log_does_not_pass_into_a_new_result(drawn: Path, configure: Configure) -> None:
    result = only(drawn, "tagging")
    path = drawn / "runs" / result["run_id"] / "log.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"0", b"1"))
    results.result_file(str(drawn), result["run_id"]).unlink()
    (again,) = train(configure(drawn, "tagging"))
    assert again["report"] == result["report"] and path.read_bytes() == whole
    assert again["files"]["log.jsonl"] == result["files"]["log.jsonl"]


def test_files_are_hashed_once_per_state(drawn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[Path] = []

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(survey, "sha256_file", counted)
    result = only(drawn, "tagging")
    assert len(hashed) >= 2 * len(survey.FILES)
    hashed.clear()
    only(drawn, "tagging")
    assert not hashed
    path = drawn / "runs" / result["run_id"] / "clips.parquet"
    stat = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # as a careful editor leaves it
    found = survey.survey(str(drawn))
    assert set(found.left_out) == {result["run_id"]} and all(path.parent in one.parents for one in hashed)
    hashed.clear()
    assert set(survey.survey(str(drawn)).left_out) == {result["run_id"]} and hashed  # never remembered as whole


def test_a_flip_of_the_disk_that_leaves_no_trace_is_found_when_the_numbers_are_read(
    study: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    (run,) = collect(str(study.root)).runs
    path = study.root / "runs" / name / "clips.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptionError, match=r"clips\.parquet"):
        _ = run.clips


@pytest.mark.parametrize(
    "change",
    [
        {"source": "../../etc"}, {"dataset": ".."}, {"task": "a/b"}, {"array": "a\\b"}, {"plan": ""},
        {"run_id": "../x"},
        {"store": "../../../x"}, {"seed": -1}, {"grid": [2, 10**9]}, {"grid": "2x2"}, {"channels": 2**70},
        {"files": {"../clips.parquet": "0" * 64}}, {"files": {"/etc/passwd": "0" * 64}}, {"files": {"a": "x"}},
        {"files": []}, {"weights": "../best.ckpt"}, {"report": {"t_miou": {"value": "0.5"}}}, {"report": []},
        {"report": {"t_miou": {"value": 0.5, "low": None, "high": None, "n": 10**30, "undefined": 0}}},
        {"classes": ["wall"]}, {"selectivity": []}, {"control_task": []},
        {"control_task": {"metrics": {"map": 1}}}, {"control_task": {"draws": "3"}},
        {"imported": {"file": "../../x"}}, {"config": "x"},
        {"profile": "a\nb"}, {"variant": "x" * 300}, {"format": 1}, {"format": "../.."},
    ],
    ids=str,
)  # fmt: skip
def test_what_no_run_writes_is_refused_under_a_right_digest(study: Any, change: dict[str, Any]) -> None:
    good = study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    name = study.per_clip("instance", "position", {"t_miou": [0.1] * 6})
    study.seal(name, **change)
    found = survey.survey(str(study.root))
    assert [one["run_id"] for one in found.whole] == [good] and set(found.left_out) == {name}
    with pytest.raises(SpatialprobeError):
        results.find_run(str(study.root), name)


def test_infinite_numbers_in_a_results_file_are_refused(study: Any) -> None:
    name = study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    path = results.result_file(str(study.root), name)
    for text in ("Infinity", "NaN", "1e999"):
        body = path.read_bytes().rpartition(b',\n "digest"')[0]
        path.write_bytes(sealed(re.sub(rb'"value": [0-9.]+', f'"value": {text}'.encode(), body) + b"\n}"))
        assert set(survey.survey(str(study.root)).left_out) == {name}, text
        study.root.joinpath("results", f"{name}.json").unlink()
        study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})


def test_a_fifo_and_a_huge_file_are_refused_unread(study: Any) -> None:
    study.per_clip("instance", "pixels", {"t_miou": [0.1] * 6})
    os.mkfifo(study.root / "results" / f"{'0' * 16}.json")
    with (study.root / "results" / f"{'1' * 16}.json").open("wb") as file:
        file.truncate(2 * results.MAX_BYTES)
    name = study.per_clip("instance", "position", {"t_miou": [0.1] * 6})
    path = study.root / "runs" / name / "clips.parquet"
    path.unlink()
    os.mkfifo(path)
    assert set(survey.survey(str(study.root)).left_out) == {"0" * 16, "1" * 16, name}


# ---- scores that are not finite


def test_an_infinite_score_of_a_clip_is_refused_where_clips_are_scored(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.tasks.instance.evaluation import InstanceEvaluator

    original = InstanceEvaluator.finish

    def broken(self: InstanceEvaluator) -> Scores:
        scores = original(self)
        place = scores.clip_ids.index("room_07") if "room_07" in scores.clip_ids else 0
        scores.per_clip[place] = scores.per_clip[place] | ClipScore({"t_miou": float("inf")})
        return scores

    monkeypatch.setattr(InstanceEvaluator, "finish", broken)
    with pytest.raises(NonFiniteError, match=r"clip room_07(.|\n)*t_miou inf"):
        train(configure(artifacts, "instance"))
    assert not (artifacts / "results").exists()


def test_outputs_that_are_not_finite_name_the_clip(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    from probe.tasks.geometry.module import Module

    original = Module.forward

    def broken(self: Module, *given: Any) -> Any:
        outputs = original(self, *given)
        if not self.training:
            outputs["depth"] = outputs["depth"] * float("nan")
        return outputs

    monkeypatch.setattr(Module, "forward", broken)
    with pytest.raises(NonFiniteError, match=r"not finite: depth(.|\n)*clip room_06"):
        train(configure(artifacts, "geometry"))


def test_an_infinite_score_in_a_table_is_refused_with_its_clip(study: Any) -> None:
    name = study.per_clip("instance", "pixels", {"t_miou": [0.1, 0.2, 0.3, 0.1, 0.2, 0.3]})
    other = study.per_clip("instance", "position", {"t_miou": [0.3, 0.2, 0.3, 0.1, 0.2, 0.1]})
    path = study.root / "runs" / name / "clips.parquet"
    table = pd.read_parquet(path)
    table.loc[(table["clip_id"] == "clip2") & (table["metric"] == "t_miou"), "value"] = float("inf")
    table.to_parquet(path)
    study.seal(name)
    for use in (lambda: build(str(study.root)), lambda: compare(CompareConfig(root=str(study.root), a=name, b=other))):
        with pytest.raises(NonFiniteError, match=r"clip clip2: t_miou inf"):
            use()


def test_statistics_refuse_infinite_values() -> None:
    values, rooms = np.array([0.1, np.inf, 0.3, 0.2]), ["a", "b", "c", "d"]
    fine = np.array([0.1, 0.2, 0.3, 0.2])
    for pair in ((values, fine), (fine, -values), (values, values)):
        with pytest.raises(NonFiniteError, match="at 1"):
            paired_difference(*pair, rooms)
    with pytest.raises(NonFiniteError, match="at 1"):
        estimate_mean(values, rooms)


def test_unfinished_runs_with_a_damaged_description_are_named(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = only(drawn, "tagging")
    results.result_file(str(drawn), result["run_id"]).unlink()
    for _ in flips(drawn / "runs" / result["run_id"] / "run.json"):
        print_runs(resolve(RunsConfig, [], {"root": str(drawn), "unfinished": "true"}))
        printed = capsys.readouterr().out
        assert "0 unfinished runs" in printed and f"left out: run {result['run_id']}: " in printed
    with pytest.raises(MissingError):
        results.find_run(str(drawn), result["run_id"])
