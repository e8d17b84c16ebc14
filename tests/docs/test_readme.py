"""What the README says of its commands is true; that they run is tested with those of the other pages."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from spatialprobe.command import stage_verbs
from tests.docs.pages import REPOSITORY, code_blocks, environment_of_make, inline_commands, run_verb
from tests.docs.shell import STAGES, commands, python_commands

README = REPOSITORY / "README.md"
TEXT = README.read_text(encoding="utf-8")
COMMANDS = [line for block in (*code_blocks(README), *inline_commands(README)) for line in commands(block)]


def section(heading: str) -> str:
    return TEXT[TEXT.index(f"## {heading}\n") :].split("\n## ", 1)[0]


def test_every_command_is_there() -> None:
    """The block `Every command` names all verbs of all stages."""
    named = {}
    for stage, verb, more in re.findall(
        r"^spatialprobe (\w+) (\w+) .*?# (.*)$", section("Every command"), re.MULTILINE
    ):
        named[stage] = {verb, *re.findall(r"\w+", more.rpartition("also:")[2])}
    assert named == {stage: {verb.name for verb in stage_verbs(stage)} for stage in STAGES}


def test_commands_inside_sentences_are_seen() -> None:
    assert "make help" in COMMANDS and "spatialprobe probe compare RUN RUN" in COMMANDS
    assert len(COMMANDS) == len(re.findall(r"(?:^|`)(?:make|python|spatialprobe) \S", TEXT, re.MULTILINE))


def test_make_help_lists_the_targets() -> None:
    call = ["make", "help"]
    done = subprocess.run(call, cwd=REPOSITORY, env=environment_of_make(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    targets = {shlex.split(line)[1] for line in COMMANDS if line.startswith("make ")}
    assert targets <= set(re.findall(r"^  (\S+)", done.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("make data", "kind=rooms workers=0"),
        ("make data PRESET=query WORKERS=2", "kind=rooms preset=query workers=2"),
        ("make data KIND=rooms DATASET=small PRESET=nano", "kind=rooms dataset=small preset=nano workers=0"),
        ("make data DATASET=scannet RAW=/a ARGS=clips=all", "kind=scannet raw=/a workers=0 clips=all"),
        ("make data DATASET=dl3dv RAW=/a PRESET=paper", "kind=dl3dv preset=paper raw=/a workers=0"),
        ("make data KIND=video RAW='/my clips'", "kind=video 'raw=/my clips' workers=0"),
        (
            "make data KIND=video DATASET=flats RAW=/a ARGS='fps=8 splits=cycle'",
            "kind=video dataset=flats raw=/a workers=0 fps=8 splits=cycle",
        ),
    ],
)
def test_make_data_takes_every_kind_and_option(line: str, expected: str) -> None:
    assert python_commands(line)[-1] == ["data", "prepare", *shlex.split(expected)]


def test_what_takes_a_cluster() -> None:
    """`part=` is for extraction alone, `cluster=` for what the README says."""
    takers = {" ".join(words[:2]) for line in COMMANDS for words in python_commands(line) if "cluster=" in line}
    assert takers == {"data prepare", "probe sweep"}
    for stage, *words in [words for line in COMMANDS for words in python_commands(line) if "cluster=" in line]:
        assert run_verb(stage, *words, "--show") == 0
    assert run_verb("extract", "run", "model=pixels", "cluster=tcp://localhost:8786", "--show") == 2


ROWS = re.findall(r"^\| (\S+) \| ([\d.]+) GB \| ([\d,]+) TFLOP \| ([\d.]+) \| ([\d.]+) GB \|$", TEXT, re.MULTILINE)


def test_the_table_of_costs_is_there() -> None:
    assert len(ROWS) == 7


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact root with the nano rooms."""
    root = tmp_path_factory.mktemp("rooms")
    assert run_verb("data", "prepare", "kind=rooms", "preset=nano", "workers=1", f"root={root}") == 0
    return root


@pytest.mark.full
@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_table_of_costs_is_what_plans_print(
    row: tuple[str, ...], rooms: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(rooms / "no weights"))
    model, memory, flops, hours, disk = row
    words = (f"model={model}", "dataset=rooms-nano", "weights=random", "device=cpu", f"root={rooms}")
    capsys.readouterr()
    assert run_verb("extract", "plan", *words) == 0
    text = capsys.readouterr().out
    clips = int(re.findall(r": (\d+) clips to do", text)[0])
    assert f"{memory} GB of weights" in text and f"{flops} TFLOP per clip" in text
    found = float(re.findall(r"([\d.]+) GPU hours", text)[0]) * 40 / clips
    assert found == pytest.approx(float(hours), abs=0.00055)
    size, unit = re.findall(r"disk +([\d.]+) ([GM])B of", text)[0]
    assert float(size) * (1 if unit == "G" else 1e-3) * 40 / clips == pytest.approx(float(disk), rel=0.01)


@pytest.mark.full
@pytest.mark.realdata
def test_one_room_goes_through_the_whole_job(
    realdata: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPATIALPROBE_HOME", str(tmp_path / "artifacts"))
    (block,) = [block for block in code_blocks(README) if "livingroom" in block.text]
    prepare, models, oracles, sweep, report = commands(block)
    sweeps = [sweep.replace("TASK=geometry", f"TASK={task}") for task in ("tagging", "instance", "geometry")]
    for line in (prepare, models, oracles, *sweeps, report):
        for words in python_commands(line.replace("/path/to/room", str(realdata / "icl_livingroom1"))):
            if words[0] in STAGES:  # make may set up its environment first
                assert run_verb(*words) == 0, f"{shlex.join(words)}\n{capsys.readouterr().err}"
    trained = pd.read_parquet(tmp_path / "artifacts" / "results" / "results.parquet")
    assert trained.groupby("task")["source"].nunique().to_dict() == {"geometry": 5, "instance": 5, "tagging": 5}
    assert (tmp_path / "artifacts" / "report" / "index.html").is_file()
