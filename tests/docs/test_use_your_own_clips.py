"""docs/use-your-own-clips.md: its commands are accepted as written, and taken together lead to a report."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from data.raw.folder import RawFolder
from data.video.manifest import read_manifest
from tests.data.video.filming import labelled
from tests.docs.guides import blocks, page, run_all

GUIDE = page("use-your-own-clips.md")
PLACES = ("kitchen", "hall", "office", "bath", "bedroom")
COMMANDS = blocks(GUIDE)
UNTRAINED = {"TWIN": "weights=random size=tiny", "FEATURES": "qwen3-vl-2b-tiny-random"}
STAGES = {"data", "extract", "cache", "probe"}


def words(command: str, raw: Path) -> list[str]:
    """The arguments of one command of the guide, with its names filled in."""
    assert command.startswith("spatialprobe ")
    filled = command.replace("$RAW", str(raw))
    for name, value in UNTRAINED.items():
        filled = filled.replace(f"${name}", value)
    return shlex.split(filled)[1:]


def test_every_command_is_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import importlib

    from configs.cli import main

    assert len(COMMANDS) > 12
    for command in COMMANDS:
        stage, *arguments = words(command, tmp_path)
        assert stage in STAGES
        verbs = importlib.import_module(f"{stage}.__main__").VERBS
        assert main(stage, "about", verbs, [*arguments, "--show"]) == 0, (command, capsys.readouterr().err)


def test_manifest_of_the_guide_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r"```json\n(.*?)```", GUIDE, re.S)
    (tmp_path / "manifest.json").write_text(example)
    (tmp_path / "kitchen.mp4").write_bytes(b"x")
    for folder in ("kitchen_depth", "kitchen_masks"):
        (tmp_path / folder).mkdir()
    (recording,) = read_manifest(RawFolder(tmp_path)).recordings
    assert recording.camera is not None and len(recording.poses) == 2 and recording.masks is not None
    keys = {*json.loads(example), *json.loads(example)["recordings"][0]} - {
        "format",
        "version",
        "recordings",
        "licence",
    }
    assert keys <= set(re.findall(r"^\| `(\w+)` \|", GUIDE, re.M))


@pytest.mark.full
def test_the_guide_leads_to_a_report(tmp_path: Path) -> None:
    raw, home = tmp_path / "recordings", tmp_path / "artifacts"
    labelled(raw, PLACES)
    names = {"RAW": str(raw), "SPATIALPROBE_HOME": str(home), **UNTRAINED}
    assert set(re.findall(r"^export (\w+)=", GUIDE, re.M)) == set(names)
    run_all(COMMANDS, names)
    assert (home / "report" / "index.html").stat().st_size > 1000
    assert len(list((home / "results").glob("*.json"))) == 4
