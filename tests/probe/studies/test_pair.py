"""The control table of a pair."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from configs import commands
from configs.cli import main
from fusion.opening import open_source
from probe.__main__ import VERBS
from probe.studies import pair
from tests.fusion.lab import Lab, spec_of


def run(*words: str) -> int:
    return main("probe", "", VERBS, list(words))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    made = Lab(tmp_path / "root")
    made.dataset()
    return made


def test_the_table_has_every_control_and_says_what_is_lacking(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.store("wan-t2v-1.3b", spec_of("dit", channels=12))
    lab.store("qwen3-vl-2b", spec_of("llm", block=22, channels=8))
    lab.store("qwen3-vl-2b-random", spec_of("llm", block=22, channels=8, untrained=True), seed=1)
    lab.store("internvl3-1b", spec_of("llm", block=20, channels=8))
    lab.store("position", spec_of("position", block=None, channels=3))
    words = ["model=wan-t2v-1.3b qwen3-vl-2b", "dataset=toy", f"root={lab.root}", "probe=profile=smoke seeds=0,1"]
    assert run("controls", *words) == 0
    printed = capsys.readouterr().out
    script = (lab.root / "features" / "toy" / "wan-t2v-1.3b+qwen3-vl-2b" / "controls.sh").read_text(encoding="utf-8")
    ready = [
        "wan-t2v-1.3b", "qwen3-vl-2b", "wan-t2v-1.3b+qwen3-vl-2b", "wan-t2v-1.3b+qwen3-vl-2b@concat",
        "wan-t2v-1.3b+qwen3-vl-2b@pca4", "wan-t2v-1.3b+qwen3-vl-2b@sum4", "wan-t2v-1.3b+qwen3-vl-2b@gated",
        "wan-t2v-1.3b+noise~8", "noise~12+qwen3-vl-2b", "wan-t2v-1.3b+position~8", "position~12+qwen3-vl-2b",
        "wan-t2v-1.3b+qwen3-vl-2b-random", "qwen3-vl-2b+internvl3-1b", "wan-t2v-1.3b@random20", "qwen3-vl-2b@pca4",
    ]  # fmt: skip
    probes = [shlex.split(line) for line in script.splitlines() if line.startswith("spatialprobe probe train")]
    for name in ready:
        assert sum(f"model={name}" in words for words in probes) == 2, name
    assert script.count("task=instance") == script.count("task=geometry") >= len(ready)
    assert "profile=smoke seeds=0,1" in script and "internvl3-1b+" not in script
    assert not any("model=wan-t2v-1.3b-random+qwen3-vl-2b" in words for words in probes)
    assert "no second VGM" in printed
    twin = commands.extract("run", model="wan-t2v-1.3b", dataset="toy", weights="random", root=str(lab.root))
    assert twin in printed
    for name in ready:
        source = open_source(lab.root, "toy", name)
        (array,) = source.arrays.values()
        assert f"layers={array.name} " in script
    widths = {name: next(iter(open_source(lab.root, "toy", name).arrays.values())).channels for name in ready}
    assert {widths[name] for name in ready[2:4] + ready[7:12] + ready[13:14]} == {20}
    assert widths["qwen3-vl-2b@pca4"] == 4 and widths["wan-t2v-1.3b+qwen3-vl-2b@pca4"] == 8


def test_sources_without_an_untrained_twin_get_no_row_for_it(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """The command that would make the twin made the source itself, and the table never got complete."""
    lab.store("oracle-depth-rays", spec_of("oracle", block=None, channels=12))
    lab.store("qwen3-vl-2b-tiny-random", spec_of("llm", block=5, channels=8, untrained=True))
    lab.store("position", spec_of("position", block=None, channels=3))
    words = ["model=oracle-depth-rays qwen3-vl-2b-tiny-random", "dataset=toy", f"root={lab.root}"]
    assert run("controls", *words) == 0
    printed = capsys.readouterr().out
    assert "same width, noise for oracle-depth-rays" in printed
    assert "untrained" not in printed and "weights=random" not in printed


def test_unknown_variants_are_refused_before_anything_is_made(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("controls", "model=vgm vlm", "dataset=toy", f"root={lab.root}", "variants=l2,zscor") == 2
    assert "did you mean zscore" in capsys.readouterr().err
    assert not (lab.root / "features" / "toy" / "vgm+vlm").exists()


@pytest.mark.parametrize(
    ("word", "message"), [("trunk.widht=8", "trunk.width"), ("profile=tiny", "profile"), ("x", "x")]
)
def test_wrong_options_of_the_probes_are_reported_before_one_trains(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    monkeypatch.setattr(pair, "train", lambda run: pytest.fail("trained"))
    lab.pair()
    options = ["model=vgm vlm", "dataset=toy", f"root={lab.root}", "variants=l2", "run=true"]
    assert run("controls", *options, f"probe=profile=debug {word}") == 2
    assert message in capsys.readouterr().err


def test_a_table_needs_a_pair(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.pair()
    assert run("controls", "model=vgm", "dataset=toy", f"root={lab.root}") == 2
    assert "needs a pair of models" in capsys.readouterr().err


def test_a_pair_of_which_the_first_is_coarse_meets_on_its_grid(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """A pooled map isn't interpolated: by default the pair meets where both have features, and a note says so."""
    lab.store("cogvideox-t2v-2b", spec_of("dit", grid=(3, 4), pooling="adaptive average from 6x9"))
    lab.store("qwen3-vl-2b", spec_of("llm", block=22, grid=(8, 8)))
    words = ["controls", "model=cogvideox-t2v-2b qwen3-vl-2b", "dataset=toy", f"root={lab.root}"]
    assert run(*words) == 0
    told = capsys.readouterr()
    assert "the pair meets on the grid of cogvideox-t2v-2b instead" in told.out + told.err
    (array,) = open_source(lab.root, "toy", "cogvideox-t2v-2b+qwen3-vl-2b").arrays.values()
    assert array.grid == (3, 4)
    assert run(*words, "grid=last") == 1  # as asked
    assert "no features on grid 8x8" in capsys.readouterr().err
