"""Controls of a run: twins on shuffled targets, capacity curve, equal sizes, code length."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import betaln

from configs.cli import main
from configs.errors import ConfigError
from data.dataset.queries import clip_rng, load_plan
from data.prepare.prepare import prepare
from fusion.__main__ import VERBS
from probe.inputs.batches import attached
from probe.inputs.inputs import RememberingDataset, donors
from probe.results import results, survey
from probe.results.runs import print_results
from probe.results.write import selectivity
from probe.studies.mdl import rate_code
from probe.task import load_task
from probe.train.train import train
from tests.data.toy import Shape, ToySource
from tests.dataset_stores import make_store, noise_maps

Configure = Callable[..., Any]


def test_every_clip_gives_once_and_never_to_itself() -> None:
    clips = [f"c{i}" for i in range(9)]
    given = donors(clips, 0)
    assert sorted(given) == sorted(given.values()) == clips
    assert all(clip != donor for clip, donor in given.items())
    assert donors(clips, 0) == given != donors(clips, 1)


def test_twins_borrow_targets_and_nothing_of_what_features_are_of() -> None:
    class Toy:
        def queries(self, clip_id: str, epoch: int) -> tuple[int, ...]:
            return {"a": (0, 5), "b": (0, 9)}[clip_id]

        def sample(self, clip_id: str, epoch: int) -> dict[str, Any]:
            return {"clip_id": clip_id, "queries": torch.tensor(self.queries(clip_id, epoch)), "labels": ord(clip_id)}

    batch = attached(Toy(), {"a": "b", "b": "a"}, [("a", 0), ("b", 0)])
    own, twin = batch["targets"], batch["control"]
    assert twin["clip_id"] == own["clip_id"] and torch.equal(twin["queries"], own["queries"])
    assert twin["labels"] == own["labels"][::-1]


def test_selectivity_points_the_right_way() -> None:
    known = {**load_task("tagging").metrics, **load_task("geometry").metrics}
    real: dict[str, dict[str, Any]] = {"map": {"value": 0.9}, "abs_rel": {"value": 0.1}, "auc_30": {"value": None}}
    twin: dict[str, dict[str, Any]] = {"map": {"value": 0.4}, "abs_rel": {"value": 0.3}, "auc_30": {"value": 0.2}}
    assert selectivity(real, twin, known) == pytest.approx({"map": 0.5, "abs_rel": 0.2})


@pytest.mark.parametrize("task", ["tagging", "instance", "geometry"])
def test_twin_is_trained_beside_its_original(artifacts: Path, configure: Configure, task: str) -> None:
    real, twin = train(configure(artifacts, task, control=True))
    assert (real["control"], twin["control"]) == ("", "shuffled targets")
    assert twin["control_of"] == real["run_id"] and twin["selectivity"]
    # the original is the run it would be without a twin
    (alone,) = train(configure(artifacts, task))
    assert alone["run_id"] == real["run_id"] and alone["finished_at"] == real["finished_at"]
    labels = pd.read_parquet(artifacts / "runs" / twin["run_id"] / "predictions.parquet")
    if task == "tagging":
        own = pd.read_parquet(artifacts / "runs" / real["run_id"] / "predictions.parquet")
        given = donors(["room_09", "room_10", "room_11"], 0)
        true = {row["clip_id"]: list(row["labels"]) for _, row in own.iterrows()}
        borrowed = {row["clip_id"]: list(row["labels"]) for _, row in labels.iterrows()}
        assert all(borrowed[clip] == true[donor] for clip, donor in given.items())


def test_capacity_curve(artifacts: Path, configure: Configure) -> None:
    found = train(configure(artifacts, "instance", depths="linear,0,1"))
    assert [r["depth"] for r in found] == ["linear", "0", "1"]
    assert found[0]["parameters"] < found[1]["parameters"] < found[2]["parameters"]
    with pytest.raises(ConfigError, match="depths takes"):
        train(configure(artifacts, "instance", depths="deep"))


@pytest.mark.parametrize("projection", ["pca", "random"])
def test_equal_sizes(own_artifacts: Path, configure: Configure, projection: str) -> None:
    """Names bring features to another width, a recorded view to another grid; both at once too."""
    name, words = f"speckle@{projection}3", ["dataset=toy", f"root={own_artifacts}"]
    (plain,) = train(configure(own_artifacts, "tagging"))
    (narrow,) = train(configure(own_artifacts, "tagging", model=name))
    assert main("fusion", "", VERBS, ["fuse", f"model={name}", "grid=2x2", *words]) == 0
    (both,) = train(configure(own_artifacts, "tagging", model=name))
    assert main("fusion", "", VERBS, ["fuse", "model=speckle@concat", "grid=2x2", *words]) == 0
    (coarse,) = train(configure(own_artifacts, "tagging", model="speckle@concat"))
    found = [(result["grid"], result["channels"]) for result in (plain, narrow, both, coarse)]
    assert found == [([4, 4], 8), ([4, 4], 3), ([2, 2], 3), ([2, 2], 8)]
    assert len({result["run_id"] for result in (plain, narrow, both, coarse)}) == 4


def test_sizes_that_features_cannot_have_are_refused(own_artifacts: Path, configure: Configure) -> None:
    with pytest.raises(ConfigError, match="at most 8"):
        train(configure(own_artifacts, "tagging", model="speckle@pca9"))
    with pytest.raises(ConfigError, match=r"unknown key 'match\.width'\n.*did you mean .*\.width"):
        configure(own_artifacts, "tagging", match__width=3)


def test_buckets_are_those_of_the_whole_training_split(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    def more_classes_per_clip(self: RememberingDataset, clip_id: str, positions: Sequence[int]) -> np.ndarray:
        return np.tile(np.where(np.arange(20) > int(clip_id[-2:]), 1000, 0), (len(positions), 1))

    monkeypatch.setattr(RememberingDataset, "class_pixels", more_classes_per_clip)
    (whole,), (share,) = (train(configure(artifacts, "tagging", fraction=f)) for f in (1.0, 0.2))
    assert (whole["clips"]["train"], share["clips"]["train"]) == (6, 1)
    for name in ("train_rate", "bucket"):
        assert [row[name] for row in share["classes"]] == [row[name] for row in whole["classes"]]


def test_code_of_rates_has_a_closed_form() -> None:
    """One question at a time, the estimate gives the Dirichlet-multinomial probability of the whole sequence."""
    answers = np.array([True, False, False, True, True, False, False, False])
    bits = sum(rate_code(answers[:i, None], answers[i : i + 1, None]) for i in range(len(answers)))
    yes, no = int(answers.sum()), int((~answers).sum())
    whole = betaln(yes + 0.5, no + 0.5) - betaln(0.5, 0.5)
    assert bits == pytest.approx(-whole / np.log(2))
    # in blocks: 1 of 3 before gives (1 + 1/2) / (3 + 1), the same for all that follow
    known, sent = np.array([[1, 0], [0, 0], [0, 0]], bool), np.array([[1, 0], [0, 1]], bool)
    expected = -np.log2([1.5 / 4, 3.5 / 4, 2.5 / 4, 0.5 / 4]).sum()
    assert rate_code(known, sent) == pytest.approx(expected)
    assert rate_code(known[:0], sent) == 4  # nothing known: one bit an answer, the uniform code


def by_rates(root: Path, code: dict[str, Any], given: dict[str, str]) -> float:
    """The code of class rates, counted one answer after another; `given` names the donors of twins."""
    dataset = RememberingDataset.open("toy", root)
    clips = [f"room_{i:02d}" for i in range(6)]
    plan = load_plan(dataset, "paper-2")

    def shown(clip: str) -> list[bool]:
        donor = given.get(clip, clip)
        pixels = dataset.class_pixels(donor, plan.of(donor, 0))
        return [bool((pixels[:, c] >= 200).any()) for c in range(pixels.shape[1])]

    order = [clips[int(i)] for i in clip_rng(0, 0, "", "fraction").permutation(6)]
    ends = np.cumsum([block["clips"] for block in code["blocks"]])
    assert ends[-1] == len(clips)
    bits = 20.0 * ends[0]
    for start, end in itertools.pairwise(ends):
        for clip in order[start:end]:
            for c, answer in enumerate(shown(clip)):
                rate = (sum(shown(other)[c] for other in order[:start]) + 0.5) / (start + 1)
                bits -= np.log2(rate if answer else 1 - rate)
    return float(bits)


def test_code_length(artifacts: Path, configure: Configure) -> None:
    (result,) = train(configure(artifacts, "tagging", mdl=True))
    code = result["mdl"]
    assert code["uniform_bits"] == 6 * 20
    assert code["bits"] == pytest.approx(sum(block["bits"] for block in code["blocks"]))
    assert sum(block["clips"] for block in code["blocks"]) == 6
    assert code["compression"] == pytest.approx(code["rate_bits"] / code["bits"])
    assert code["uniform_compression"] == pytest.approx(code["uniform_bits"] / code["bits"])
    assert code["rate_bits"] == pytest.approx(by_rates(artifacts, code, {}))
    assert code["blocks"][0]["rate_bits"] == code["blocks"][0]["bits"] == 20 * code["blocks"][0]["clips"]
    table = pd.read_parquet(artifacts / "results" / "results.parquet").set_index("run_id").loc[result["run_id"]]
    assert all(table[f"mdl.{key}"] == code[key] for key in ("compression", "uniform_compression", "rate_bits"))
    (again,) = train(configure(artifacts, "tagging", mdl=True))
    assert again["mdl"] == code
    with pytest.raises(ConfigError, match="task 'instance' has no code length to measure") as caught:
        train(configure(artifacts, "instance", mdl=True))
    assert caught.value.fix == "task=tagging"


def by_chance(self: RememberingDataset, clip_id: str, positions: Sequence[int]) -> np.ndarray:
    """Classes of a clip that follow from its number and nothing else."""
    return np.tile(np.random.default_rng(int(clip_id[-2:])).integers(0, 2, 20) * 1000, (len(positions), 1))


def test_code_length_of_twins(artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """A first block of one clip has no donor of its own."""
    monkeypatch.setattr(RememberingDataset, "class_pixels", by_chance)
    real, twin = train(configure(artifacts, "tagging", mdl=True, control=True))
    assert real["mdl"]["blocks"][1]["trained_on"] == 1
    train_clips = [f"room_{i:02d}" for i in range(6)]
    assert twin["mdl"]["rate_bits"] == pytest.approx(by_rates(artifacts, twin["mdl"], donors(train_clips, 0)))
    assert twin["mdl"]["rate_bits"] != pytest.approx(real["mdl"]["rate_bits"])
    assert twin["mdl"]["uniform_bits"] == real["mdl"]["uniform_bits"] and twin["mdl"]["bits"] > 0


def test_code_of_noise_is_no_longer_than_plain(
    artifacts: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes that know a few clips by heart are sure of wrong labels; the code must not be theirs."""
    monkeypatch.setattr(RememberingDataset, "class_pixels", by_chance)
    (result,) = train(configure(artifacts, "tagging", mdl=True, recipe__length=60, recipe__lr=0.01))
    assert result["mdl"]["uniform_compression"] > 0.9


def test_features_without_information_compress_at_most_once(
    tmp_path: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rare classes compress against a uniform code whatever the features are; against their rates they don't."""
    splits = ["train"] * 24 + ["select"] * 6 + ["report"] * 2
    shapes = {f"room_{i:02d}": Shape(query_only=True, split=split) for i, split in enumerate(splits)}
    prepare(ToySource(shapes), tmp_path / "datasets" / "toy", plans=("paper-2",), workers=1)
    make_store(tmp_path, RememberingDataset(tmp_path / "datasets" / "toy"), "speckle", {None: noise_maps(4, (2, 2))})

    def one_in_six(self: RememberingDataset, clip_id: str, positions: Sequence[int]) -> np.ndarray:
        shown = np.random.default_rng(int(clip_id[-2:])).random(20) < 1 / 6
        return np.tile(1000 * shown, (len(positions), 1))

    monkeypatch.setattr(RememberingDataset, "class_pixels", one_in_six)
    (result,) = train(configure(tmp_path, "tagging", mdl=True, recipe__length=60, recipe__lr=0.01))
    code = result["mdl"]
    assert code["uniform_compression"] > 1.2  # negative control: what a uniform code would have called a finding
    assert code["compression"] <= 1.02


def test_codes_of_0_2_0_are_shown_under_their_own_name(artifacts: Path, configure: Configure, capsys: Any) -> None:
    """They lack the code of class rates, are never taken for one against it, and are measured again if asked."""
    (result,) = train(configure(artifacts, "tagging"))
    old = {"bits": 80.0, "uniform_bits": 120.0, "compression": 1.5, "blocks": []}
    results.write(str(artifacts), {**result, "mdl": old})
    survey.compact(str(artifacts))
    row = pd.read_parquet(artifacts / "results" / "results.parquet").iloc[0]
    assert row["mdl.uniform_compression"] == 1.5 and "mdl.compression" not in row
    print_results([results.find_run(str(artifacts), result["run_id"])], str(artifacts))
    printed = capsys.readouterr().out
    assert "1.5 to 1 against a uniform code" in printed and "class rates" not in printed
    assert results.compressions(old) == {"uniform_compression": 1.5}
    assert results.compressions({"bits": "x"}) == results.compressions({"bits": 0.0}) == {}
    (again,) = train(configure(artifacts, "tagging", mdl=True))
    assert again["finished_at"] == result["finished_at"] and results.has_code(again)
