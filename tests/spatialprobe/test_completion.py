"""Completion, asked through the real shells where they are installed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from configs.commands import STAGES
from configs.names import model_names
from spatialprobe.command import VERBS, main, stage_verbs
from spatialprobe.completion import SCRIPTS, candidates
from tests.skips import NO_SHELLS

ROOT = Path(__file__).parents[2]


def complete(*words: str) -> list[str]:
    return [line.partition("\t")[0] for line in candidates(words, VERBS, stage_verbs)]


def test_stages_and_verbs() -> None:
    assert complete("") == [*STAGES, "doctor", "completion", "--help", "--version"]
    assert complete("e") == ["extract"]
    assert complete("cache", "") == [verb.name for verb in stage_verbs("cache")]
    assert complete("nonsense", "") == complete("cache", "nonsense", "") == []


def test_keys_that_are_not_given_yet() -> None:
    found = complete("cache", "prune", "apply=true", "")
    assert "apply=" not in found and {"arrays=", "store=", "root=", "--help", "--show"} <= set(found)
    assert complete("cache", "prune", "app") == ["apply="]


def test_keys_depend_on_what_selects_them() -> None:
    assert "task=" in complete("probe", "train", "")
    assert complete("probe", "train", "task=geometry", "camera.w") == ["camera.width="]
    assert complete("probe", "train", "task=tagging", "camera.w") == []
    assert "recipe.lr=" in complete("probe", "train", "task=unfinish", "recipe.l")


def test_values() -> None:
    assert complete("probe", "train", "task=") == ["task=geometry", "task=instance", "task=tagging"]
    assert complete("cache", "copy", "compression=z") == ["compression=zstd"]
    assert complete("cache", "copy", "move=") == ["move=true", "move=false"]
    assert complete("extract", "run", "model=pix") == ["model=pixels"]
    assert complete("extract", "run", "model=pixels,posi") == ["model=pixels,position"]
    assert {f"model={name}" for name in model_names()} <= set(complete("extract", "run", "model="))
    assert complete("completion", "")[:3] == ["bash", "zsh", "fish"]
    assert complete("completion", "z") == ["zsh"]


def test_prepared_datasets_of_the_root(tmp_path: Path) -> None:
    (tmp_path / "datasets" / "mine").mkdir(parents=True)
    (tmp_path / "datasets" / "mine" / "dataset.json").write_text("{}")
    (tmp_path / "datasets" / "unfinished").mkdir()
    assert complete("cache", "ls", f"root={tmp_path}", "dataset=") == ["dataset=mine"]
    assert complete("data", "prepare", "kind=r") == ["kind=rooms"]


def test_every_verb_can_be_completed() -> None:
    for stage in STAGES:
        for verb in stage_verbs(stage):
            assert "root=" in complete(stage, verb.name, ""), (stage, verb.name)


def test_meanings_stand_behind_a_tab(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["complete", "cac"]) == 0
    assert capsys.readouterr().out == f"cache\t{STAGES['cache']}\n"


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """An environment with `spatialprobe` on the path, as its script would be."""
    script = tmp_path / "bin" / "spatialprobe"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m spatialprobe "$@"\n')
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}


def shell(name: str, lines: str, environment: dict[str, str]) -> list[str]:
    if shutil.which(name) is None:
        pytest.skip(NO_SHELLS)
    script = Path(environment["HOME"]) / f"completion.{name}"
    script.write_text(SCRIPTS[name].format(program="spatialprobe"))
    done = subprocess.run(
        [name, "-c", f"source {shlex.quote(str(script))}\n{lines}"],
        env=environment, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()


CASES = {
    "spatialprobe ex": ["extract"],
    "spatialprobe probe train task=": ["task=geometry", "task=instance", "task=tagging"],
    "spatialprobe cache copy compression=z": ["compression=zstd"],
    "spatialprobe cache prune app": ["apply="],
}


@pytest.mark.parametrize("line", CASES)
def test_bash(line: str, program: dict[str, str]) -> None:
    lines = f"""
compopt() {{ :; }}
COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}
_spatialprobe
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    value = line.rpartition(" ")[2]
    start = value[: value.rfind("=") + 1]  # bash keeps what stands before its word break
    assert shell("bash", lines, program) == [text.removeprefix(start) for text in CASES[line]]


@pytest.mark.parametrize("line", CASES)
def test_zsh(line: str, program: dict[str, str]) -> None:
    lines = f"""
compadd() {{ while [[ $1 != -- ]]; do shift; done; shift; (( $# )) && print -rl -- "$@"; true }}
words=({line}); CURRENT=$#words
_spatialprobe
"""
    # `compdef` comes with the completion system, which is not loaded here
    (Path(program["HOME"]) / ".zshenv").write_text("compdef() { : }\n")
    found = shell("zsh", lines, {**program, "ZDOTDIR": program["HOME"]})
    assert [text for text in found if text] == CASES[line]


@pytest.mark.parametrize("line", CASES)
def test_fish(line: str, program: dict[str, str]) -> None:
    found = shell("fish", f"complete -C {shlex.quote(line)}", program)
    assert [text.partition("\t")[0] for text in found] == CASES[line]
