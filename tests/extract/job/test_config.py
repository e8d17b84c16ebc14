"""Options of a run: batches, parts, and the command that repeats them."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import commands
from configs.errors import ConfigError
from extract.job.config import RunConfig, run_command
from tests.extract.job.jobs import config, run


@pytest.mark.parametrize("batch", ["0", "many", "-1", "1.5"])
def test_bad_batches_are_refused(root: Path, batch: str) -> None:
    with pytest.raises(ConfigError, match="batch"):
        run(config(root, batch=batch))
    assert not (root / "features").exists()


@pytest.mark.parametrize("part", ["3/3", "1", "a/b", "-1/2"])
def test_bad_parts_are_refused(part: str) -> None:
    with pytest.raises(ConfigError, match="part"):
        RunConfig(model="pixels", part=part).share()


def test_commands_repeat_a_configuration(root: Path) -> None:
    settings = config(root, layers=["2", "4"], cache_latents=True)
    words = f"model=pixels dataset=toy layers=2,4 grid=4x5 device=cpu cache_latents=true root={root}"
    assert run_command(settings) == f"{commands.extract('run')} {words}"
