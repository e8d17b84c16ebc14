"""What the documentation shows works: every command is accepted, every Python example runs."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from probe.results.survey import survey
from tests.docs.pages import PAGES, REPOSITORY, code_blocks, inline_commands, run_verb
from tests.docs.shell import NOT_RUN, QUICK, STAGES, commands, python_commands, reason, scaled

BUILT_BY_OTHER_TESTS = {"add-a-task.md", "add-a-model.md"}  # their blocks are files; tests of those stages build them
BLOCKS = [block for page in PAGES for block in code_blocks(page)]
BLOCKS += list(inline_commands(PAGES[0]))


COMMANDS = [
    pytest.param(line, id=f"{block.page.name}:{block.line}:{number}")
    for block in BLOCKS
    if block.page.name not in BUILT_BY_OTHER_TESTS
    for number, line in enumerate(commands(block))
]


@pytest.mark.parametrize("line", COMMANDS)
def test_documented_command_is_accepted(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    for first, *words in python_commands(line):
        if importlib.util.find_spec(first) is None or first in STAGES:  # else a module such as benchmarks.rooms
            shown = {"--help", "--version", "--show"} & {first, *words}
            assert run_verb(first, *words, *([] if shown else ["--show"])) == 0, capsys.readouterr().err


def test_a_wrong_option_would_be_noticed() -> None:
    assert run_verb("probe", "train", "task=instance", "modle=oracle", "--show") == 2
    assert python_commands('make probe TASK=tagging MODEL=oracle ARGS="seeds=0,1"')[-1][:3] == [
        "probe",
        "train",
        "task=tagging",
    ]


PAGES_WITH_PYTHON = sorted({b.page for b in BLOCKS if b.info == "python" and b.page.name not in BUILT_BY_OTHER_TESTS})


@pytest.mark.parametrize("page", PAGES_WITH_PYTHON, ids=lambda page: page.name)
def test_python_examples_run(page: Path, workspace: Path) -> None:
    blocks = [block.text for block in BLOCKS if block.page == page and block.info == "python"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "SPATIALPROBE_HOME": str(workspace / "artifacts")}
    call = [sys.executable, "-c", "\n\n".join(blocks)]
    done = subprocess.run(call, cwd=workspace, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# ---- commands that are run, in the order of the pages


def _runs(line: str) -> tuple[pytest.MarkDecorator, ...]:
    """Mark what takes long."""
    quick = all(tuple(words[:2]) in QUICK for words in python_commands(line)) and "make" not in line.split()[0]
    return () if quick else (pytest.mark.full,)


LINES = [
    (block, number, line)
    for block in BLOCKS
    if block.page.name not in BUILT_BY_OTHER_TESTS
    for number, line in enumerate(commands(block))
]
RUN = [
    pytest.param(line, id=f"{block.page.name}:{block.line}:{number}", marks=_runs(line))
    for block, number, line in LINES
    if reason(block.page.stem, line) is None
]


@pytest.fixture(scope="module")
def place(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the workspace, with one more source and runs on it."""
    home = tmp_path_factory.mktemp("shell")
    shutil.copytree(workspace / "artifacts", home / "artifacts")
    root = f"root={home / 'artifacts'}"
    assert run_verb("extract", "run", "model=pixels", "dataset=rooms-nano", "grid=4x6", "workers=1", root) == 0
    words = ("task=tagging", "model=pixels", "dataset=rooms-nano", "profile=debug", "pictures=0", "resamples=20")
    assert run_verb("probe", "train", *words, root) == 0
    return home


@pytest.mark.parametrize("line", RUN)
def test_documented_command_runs(
    line: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("SPATIALPROBE_HOME", str(place / "artifacts"))
    monkeypatch.setenv("HF_HUB_CACHE", str(place / "no weights"))
    runs = {run["source"]: run["run_id"] for run in survey(None).whole if run["task"] == "tagging"}
    for words in python_commands(line):
        if words[0] in STAGES:
            words = scaled(words, place, [runs["oracle"], runs["pixels"]])
            assert run_verb(*words) == 0, f"{shlex.join(words)}\n{capsys.readouterr().err}"


def test_what_is_not_run_is_there() -> None:
    lines = [f"{block.page.stem}: {line}" for block, _, line in LINES]
    gone = [pattern for pattern in NOT_RUN if not any(re.match(pattern, line) for line in lines)]
    assert not gone, f"no such commands any more: {gone}"
    assert len(RUN) > 40


def test_links_lead_somewhere() -> None:
    broken = []
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            path, _, anchor = target.partition("#")
            place = (page.parent / path) if path else page
            if not place.exists() or (anchor and anchor not in _anchors(place)):
                broken.append(f"{page.name}: {target}")
    assert not broken


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ +(.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
