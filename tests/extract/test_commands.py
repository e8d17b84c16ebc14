"""`spatialprobe extract`: help without heavy imports, models, plan, and messages that say what to do."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from configs import commands
from configs.loader import load_named
from configs.names import model_names
from extract.model import load_model
from tests.extract.verbs import call


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, runpy\nsys.argv = ['extract', 'run', '--help']\n"
        "try: runpy.run_module('extract', run_name='__main__')\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'zarr', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "noise_seed" in done.stdout


def test_models_are_listed_with_their_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("models") == 0
    out = capsys.readouterr().out
    assert "wan stands for wan-t2v-1.3b" in out
    assert "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers" in out
    assert call("models", "kind=control") == 0
    assert "wan" not in capsys.readouterr().out.split("stands for")[0].splitlines()[3]


def test_every_model_is_complete() -> None:
    for name in model_names():
        model = load_model(name)
        assert model.title, name
        if model.kind == "control":
            continue
        assert model.hub_id, name
        assert model.licence, name
        assert set(model.paper_blocks) == {"tagging", "instance", "geometry"}, name
        assert all(1 <= block <= model.blocks for block in model.paper_blocks.values()), name
        assert model.grid, name
        assert model.noise or model.kind != "vgm", name


def test_block_numbers_of_the_paper_are_translated() -> None:
    published = {row["source"] for row in load_named("published", "table1")["rows"]}
    numbered = {name: model for name in model_names() if (model := load_model(name)).paper_numbers}
    assert published <= set(numbered)
    for name, model in numbered.items():
        assert set(model.paper_numbers) == {"tagging", "instance", "geometry"}, name
        if model.kind == "vgm":
            shift = 20 if model.family == "opensora" else 1  # 19 double blocks come first
            for task, number in model.paper_numbers.items():
                assert model.paper_blocks[task] == number + shift, name


def test_unknown_models_name_the_closest(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "model=wan-t2v-1b", "dataset=toy", f"root={root}") == 2
    assert "did you mean" in capsys.readouterr().err


def test_absent_weights_name_the_untrained_twin(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    words = ["model=cogvideox", "dataset=toy", "layers=21", "temporal=aligned", "limit=2", f"root={root}"]
    assert call("run", *words) == 1
    err = capsys.readouterr().err
    assert commands.extract("download", model="cogvideox-t2v-2b") in err
    twin = f"model=cogvideox dataset=toy weights=random size=tiny temporal=aligned limit=2 root={root}"
    assert f"{commands.extract('run')} {twin}\n" in err
    assert "Traceback" not in err


def test_absent_datasets_say_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "model=pixels", "dataset=rooms", f"root={tmp_path}") == 1
    assert commands.data("prepare", kind="rooms", root=tmp_path) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model=pixels", "grid=4"], "can't read grid=4"),
        (["model=pixels", "tap=dit"], "no tap 'dit'"),
        (["model=wan", "weights=random", "size=tiny", "layers=7"], "no layer '7'"),
        (["model=wan", "weights=random", "size=tiny", "noise=749"], "between 0 and 1"),
        (["model=pixels", "clips=clip_99"], "no clip 'clip_99'"),
        (["model=pixels", "part=2/2"], "can't read part"),
        (["model=pixels", "grid=4x0"], "can't read grid=4x0"),
        (["model=oracle", "grid=4x5,6x7"], "one grid at a time"),
        (["model=wan", "weights=random", "size=tiny", "grid=3x5,7x10"], "no grid as fine as 7x10"),
        (["model=wan", "weights=random", "size=tiny", "tap=vae", "layers=2"], "has no layers"),
        (["model=wan", "weights=random", "size=tiny", "temporal=aligned"], "only one way to cut windows"),
        (["model=qwen3-vl", "weights=random", "size=tiny", "noise=0.3"], "no noise is added for llm"),
        (["model=pixels", "groups=depth"], "don't apply to pixels"),
        (["model=pixels", "prompt=a room"], "pixels reads no text"),
        (["model=wan", "weights=random", "size=tiny", "preface=Look."], "has no line before its images"),
        (["model=oracle", "groups=depht"], "did you mean depth"),
        (["model=wan", "weights=/no/such/folder"], "check weights="),
        (["model=wan", "weights=some/where"], "hf download some/where"),
        (["model=wan", "weights=/tmp", "size=tiny"], "untrained and takes no weights"),
        (["model=pixels wan-t2v-14b"], "the weights of wan-t2v-14b are not on this machine"),
        (["model=pixels", "device=gpu"], "can't read device=gpu"),
        (["model=pixels", "device=cuda:-1"], "can't read device=cuda:-1"),
        (["model=pixels", "device=cuda:one"], "can't read device=cuda:one"),
        (["model=pixels", "device=cuda:99"], "no GPU"),
    ],
)
def test_wrong_options_are_explained(
    root: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert call("run", *words, "dataset=toy", f"root={root}") in (1, 2)
    assert message in capsys.readouterr().err
    assert not list(root.rglob("store.json"))


def test_an_interrupt_is_one_line_with_the_command_that_continues(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("extract.job.extraction.run_process", interrupted)
    words = ["model=pixels", "dataset=toy", "grid=4x5", f"root={root}"]
    assert call("run", *words) == 130
    assert capsys.readouterr().err == f"interrupted; to continue: {commands.extract('run')} {' '.join(words)}\n"


def test_a_folder_without_the_parts_of_a_model_is_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("run", "model=wan", f"weights={root}", "dataset=toy", f"root={root}") == 1
    assert "copy of the whole repository, like Wan-AI" in capsys.readouterr().err


def test_a_tiny_plan_claims_nothing_of_weights(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model=wan", "weights=random", "size=tiny", "dataset=toy", f"root={root}"]
    assert call("plan", *words) == 0
    assert "weights" not in capsys.readouterr().out


def test_plan_runs_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("plan", "model=pixels", "dataset=toy", "grid=4x5", f"root={root}") == 0
    out = capsys.readouterr().out
    assert "7 clips to do, 0 complete" in out
    assert not list(root.rglob("store.json"))


def test_plan_adds_up_the_weights_of_the_blocks_that_run(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["model=cogvideox-t2v-2b", "weights=random", "dataset=toy", "dtype=float16", f"root={root}"]
    assert call("plan", *words, "layers=3") == 0
    three = capsys.readouterr().out
    assert "up to 3 are read, 3 of 30 are loaded and run" in three
    assert "of weights" in three


@pytest.mark.parametrize(
    "model",
    [
        "cogvideox-t2v-2b",
        "internvl3-1b",
        "qwen3-vl-2b",
        *(
            pytest.param(name, marks=pytest.mark.full)
            for name in ("wan-i2v-14b", "aether", "opensora", "qwen2.5-vl-3b")
        ),
    ],
)
def test_every_family_is_planned_at_full_size(root: Path, capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert call("plan", f"model={model}", "dataset=toy", "weights=random", f"root={root}") == 0
    out = capsys.readouterr().out
    memory, compute = (
        re.search(text, out) for text in (r"memory +([\d.]+) GB of weights", r"([\d.,e+]+) TFLOP per clip")
    )
    assert memory and 0.5 < float(memory[1]) < 60
    assert compute and 10 < float(compute[1].replace(",", "")) < 5000
