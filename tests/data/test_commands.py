"""The command line of `data`: fast help, clear refusals, the whole path from nothing to pictures."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from configs import commands
from configs.cli import main
from data.__main__ import VERBS
from tests.skips import NO_LINUX

TINY = ["preset=nano", "clips=2", "render=query", "height=32", "width=32", "workers=1", "min_visible=2"]


def run(*words: str) -> int:
    return main("data", "about", VERBS, words)


LIGHT = """
import runpy, sys
sys.argv = ["data", *{words!r}]
try:
    runpy.run_module("data", run_name="__main__")
except SystemExit as done:
    assert not done.code
found = {{"torch", "zarr", "pandas", "dask", "lightning"}} & set(sys.modules)
assert not found, found
"""


@pytest.mark.parametrize("words", [["--help"], ["prepare", "--help"], ["inspect", "--show"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    subprocess.run([sys.executable, "-c", LIGHT.format(words=words)], check=True, stdout=subprocess.DEVNULL)


def test_help_lists_keys_with_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", "--help") == 0
    shown = capsys.readouterr().out
    assert "workers  (int, default 0)" in shown and "processes; 0 = one per core" in shown and "One of: " in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["prepare", "sed=3"], "did you mean seed"),
        (["prepare", "preset=cii"], "did you mean ci"),
        (["prepare", "kind=room"], "did you mean rooms"),
        (["prepare", "height=-4"], "out of range"),
        (["prepare", "height=tall"], "wrong type for height"),
        (["prepare", "seed"], "expected: key=value"),
        (["prepare", "mode=rooom"], "did you mean room"),
        (["prepare", "dataset=../x"], "not a usable name of a dataset"),
        (["prepair"], "did you mean prepare"),
        (["prepare", "seed=${oc.env:HOME}"], "seed"),
        (["prepare", "dataset=${oc.env:HOME}"], "interpolation"),
        (["inspect", "dataset=none"], "raw=... dataset=none"),
    ],
)
def test_bad_input(words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*words, *([f"root={tmp_path}"] if len(words) > 1 else [])) in (1, 2)
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in " ".join(error.split()) and "Traceback" not in error


def test_show_runs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("prepare", f"root={tmp_path}/a", "seed=7", "--show") == 0
    assert "seed: 7" in capsys.readouterr().out and not list(tmp_path.iterdir())


def test_whole_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = f"root={tmp_path}"
    assert run("prepare", root, "dataset=tiny", *TINY) == 0
    assert f"next: {commands.data('inspect', dataset='tiny', root=tmp_path)}\n" in capsys.readouterr().out
    assert run("prepare", root, "dataset=tiny", *TINY) == 0
    assert "0 clips made, 2 already there" in capsys.readouterr().out
    assert run("prepare", root, "dataset=tiny", *TINY, "seed=3") == 1
    assert "parameters.seed: 0 -> 3" in capsys.readouterr().err
    assert run("inspect", root, "dataset=tiny") == 0
    assert run("verify", root, "dataset=tiny", "workers=1") == 0
    assert run("preview", root, "dataset=tiny", "count=1") == 0
    assert len(list((tmp_path / "previews/tiny").glob("*.png"))) == 1
    logs = list((tmp_path / "logs").glob("data-prepare-*.jsonl"))
    assert any("parameters.seed" in p.read_text() for p in logs)


def test_root_that_can_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert run("prepare", f"root={tmp_path}/file", *TINY) == 1
    error = capsys.readouterr().err
    assert "file" in error and "Traceback" not in error


@pytest.mark.skipif(os.geteuid() == 0 and not Path("/proc/self/fd").exists(), reason=NO_LINUX)
def test_read_only_root(capsys: pytest.CaptureFixture[str]) -> None:
    """/proc refuses new folders even to root."""
    assert run("prepare", "root=/proc/spatialprobe", *TINY) == 1
    error = capsys.readouterr().err
    assert "error: " in error and "Traceback" not in error


def test_quiet_when_not_a_terminal(tmp_path: Path) -> None:
    one = ["clips=1" if word == "clips=2" else word for word in TINY]
    command = [sys.executable, "-m", "data", "prepare", f"root={tmp_path}", "dataset=tiny", *one]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == "" and done.stdout.count("\n") == 3


def test_new_generator_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from data.rooms import source

    words = ["prepare", f"root={tmp_path}", "dataset=tiny", *TINY]
    assert run(*words) == 0
    assert (tmp_path / "datasets/tiny/report.json").is_file()
    monkeypatch.setattr(source, "GENERATOR_VERSION", source.GENERATOR_VERSION + 1)
    assert run(*words) == 1
    assert "maker_version: 1 -> 2" in capsys.readouterr().err
