"""The grid on which models meet, and the command that adds what a store lacks."""

from __future__ import annotations

import dataclasses
import re

import pytest

from cache import ArraySpec
from configs import commands
from configs.errors import ConfigError, MissingError
from configs.names import parse_name
from extract.noise import CogVideoXSchedule, FlowSchedule, NoiseSchedule, OpenSoraSchedule
from fusion.opening import view_by_name
from fusion.recipe import Choices
from fusion.views.grids import refill_command
from tests.fusion.lab import Lab, refused, spec_of

RUN = commands.extract("run")


def test_a_grid_that_a_model_has_but_the_store_lacks(lab: Lab) -> None:
    lab.store("wan-t2v-14b", spec_of("dit", grid=(3, 5), pooling="adaptive average from 6x10"))
    lab.store("vlm", spec_of("llm", grid=(4, 6)))
    text = refused(lab, MissingError, "wan-t2v-14b+vlm")
    assert "grid 4x6" in text and "dit.b21.3x5" in text
    assert f"{RUN} model=wan-t2v-14b dataset=toy layers=21 grid=3x5,4x6" in text
    view = view_by_name(lab.root, "toy", parse_name("wan-t2v-14b+vlm"), choices=Choices(upsample="always"))
    assert next(iter(view.arrays.values())).pooling == "bilinear from 3x5; none"


def test_that_grid_is_added_at_the_noise_level_of_the_array(lab: Lab) -> None:
    array = dataclasses.replace(spec_of("dit", grid=(3, 5), pooling="averaged"), noise_level=0.25, name="")
    lab.store("wan-t2v-14b", array)
    lab.store("vlm", spec_of("llm", grid=(4, 6)))
    assert "layers=21 noise=0.25 grid=3x5,4x6" in refused(lab, MissingError, "wan-t2v-14b+vlm")


def test_a_native_grid_may_be_interpolated_unless_forbidden(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", grid=(3, 5)))
    lab.store("vlm", spec_of("llm", grid=(4, 6)))
    assert view_by_name(lab.root, "toy", parse_name("vgm+vlm")).missing() == []
    refused(lab, MissingError, upsample="never")


def test_the_grid_is_taken_from_the_array_that_has_it_or_the_native_one(lab: Lab) -> None:
    pooled: ArraySpec = spec_of("dit", grid=(5, 7), pooling="adaptive average from 8x12")
    lab.store("vgm", spec_of("dit", grid=(8, 12)), pooled)
    lab.store("vlm", spec_of("llm", grid=(4, 6)))
    for grid, name in (("5x7", "dit.b21-llm.b22.4x6.5x7"), ("4x6", "dit.b21.8x12-llm.b22.4x6")):
        view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), choices=Choices(grid=grid))
        assert list(view.arrays) == [name.replace("b22", "b21")]
    assert "several grids" in refused(lab, ConfigError, grid="first")
    assert "did you mean" in refused(lab, ConfigError, grid="vml")


def test_the_command_that_fills_gaps_asks_for_the_arrays_that_there_are(lab: Lab) -> None:
    """Without its layers, noise levels and grids it would add arrays instead."""
    levels = [dataclasses.replace(spec_of("dit", block=b), noise_level=n, name="") for b, n in ((9, 0.25), (21, 0.5))]
    vgm = lab.store("wan-t2v-14b", *levels, spec_of("dit", block=9, grid=(2, 3), pooling="adaptive average from 4x6"))
    command = f"{RUN} model=wan-t2v-14b dataset=toy layers=9,21 noise=0.25,0.5 grid=4x6,2x3"
    assert refill_command(vgm) == command
    vlm = lab.store("qwen3-vl-2b-tiny-random", spec_of("vision", block=3), spec_of("llm", block=4))
    command = f"{RUN} model=qwen3-vl-2b dataset=toy weights=random size=tiny"
    assert refill_command(vlm) == f"{command} tap=llm,vision layers=3,4 grid=4x6"


@pytest.mark.parametrize(
    ("schedule", "text"),
    [
        (FlowSchedule(5.0), "index:749"),
        (CogVideoXSchedule(3.0), "index:749"),
        (OpenSoraSchedule((60, 104), 33), "t:0.25"),
    ],
)
def test_that_command_means_the_stored_noise_level(lab: Lab, schedule: NoiseSchedule, text: str) -> None:
    """A rounded level would be another one, which `extract` refuses to store under the same name."""
    level = schedule.level(text)
    told = {"timestep": level.timestep, "signal": level.signal}
    array = dataclasses.replace(spec_of(), noise_level=level.noise, name="", extra=told)
    (word,) = re.findall(r"noise=(\S+)", refill_command(lab.store("vgm", array)))
    assert schedule.level(word) == level
