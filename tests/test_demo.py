"""`make demo`: its commands are right, one after the other; the long version runs them on the smallest rooms."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from configs import loader
from configs.errors import ConfigError
from configs.names import parse_name, read_source
from extract.job.config import RunConfig, each_model
from extract.job.request import source_name, variant_of
from extract.model import load_model

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS")
}
"""Without what a make that runs these tests was given."""


def demo(*options: str) -> list[str]:
    """The recipe of `make demo` without the installation, as make would run it."""
    command = ["make", "-C", str(ROOT), "-n", "-o", "setup", "demo", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT, timeout=60)
    return [line for line in done.stdout.splitlines() if "spatialprobe " in line.split("#")[0]]


def parsed(line: str) -> tuple[str, str, Any]:
    """Stage, verb and the configuration that a command line resolves to."""
    _, stage, verb, *words = shlex.split(line)
    (known,) = [v for v in import_module(f"{stage}.__main__").VERBS if v.name == verb]
    overrides = loader.parse_overrides(words)
    layers = known.layers(overrides)
    return stage, verb, loader.resolve(layers.start, layers.values, overrides)


@pytest.mark.parametrize(("options", "dataset"), [((), "rooms-demo"), (("PRESET=nano",), "rooms-nano")])
def test_every_command_resolves_and_reads_what_an_earlier_one_makes(options: tuple[str, ...], dataset: str) -> None:
    commands = [parsed(line) for line in demo(*options)]
    assert [stage for stage, _, _ in commands] == ["data"] + ["extract"] * 2 + ["probe"] * 4
    assert commands[0][2].rooms.dataset == dataset
    made = set()
    for _, _, config in commands[1:3]:
        assert config.dataset == dataset
        for each in each_model(config):
            model = load_model(each.model)
            made.add(source_name(model, variant_of(each, model, "cpu")))
    runs = [config.runs for _, verb, config in commands if verb == "sweep"]
    assert {run.task for run in runs} == {"tagging", "instance", "geometry"}
    for what in (run.what for run in runs):
        assert what.dataset == dataset and len(what.seeds) == 3
        (names,) = what.model
        branches = {branch.source for name in names.split() for branch in parse_name(name).branches}
        assert branches == made  # everything that was made is probed, nothing else
    assert commands[-1][1] == "report"


@pytest.mark.parametrize(
    "name", ["wan-t2v-14b", "wan-t2v-14b-random", "qwen3-vl-2b-tiny-random", "oracle", "oracle-depth-rays", "own"]
)
def test_source_names_are_read_back(name: str) -> None:
    assert str(read_source(name)) == name


def test_names_and_options_may_not_contradict() -> None:
    (config,) = each_model(RunConfig(model="oracle-depth-rays", groups=["rays", "depth"]))
    assert (config.model, config.groups) == ("oracle", ["depth", "rays"])
    with pytest.raises(ConfigError, match="other groups"):
        each_model(RunConfig(model="oracle-depth", groups=["code"]))
    with pytest.raises(ConfigError, match="weights=random"):
        each_model(RunConfig(model="wan-t2v-14b-random", weights="/somewhere"))


@pytest.mark.full
def test_demo_from_nothing_and_again(tmp_path: Path) -> None:
    environment = {**ENVIRONMENT, "SPATIALPROBE_HOME": str(tmp_path / "home")}
    options = ["PRESET=nano", "ARGS=recipe.length=10 resamples=50"]
    command = ["make", "-C", str(ROOT), "-o", "setup", "demo", *options]
    first = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=3000)
    assert first.returncode == 0, first.stderr
    assert (tmp_path / "home" / "report" / "index.html").is_file()
    runs = sorted((tmp_path / "home" / "results").glob("*.json"))
    assert len(runs) == 3 * (
        13 + 7 + 7
    )  # three seeds of four layers of two models and five other sources; one layer each
    before = {path: path.stat().st_mtime_ns for path in runs}

    second = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600)
    assert second.returncode == 0, second.stderr
    assert {path: path.stat().st_mtime_ns for path in runs} == before
    assert re.findall(r"\d+ clips to do, (\d+) complete", second.stdout) == ["8"] * 6
    assert second.stderr.count("39 probes on 13 layers, 0 of them to train") == 1
    assert second.stderr.count("21 probes on 7 layers, 0 of them to train") == 2
    assert "unchanged: results" in second.stdout + second.stderr
