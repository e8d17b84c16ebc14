"""Stores that do not fit together: refused with what differs and what to do, and what a user may decide instead."""

from __future__ import annotations

import dataclasses
import re
import shutil
from typing import Any

import pytest

from cache import ClipEntry
from configs import commands
from configs.errors import MissingError, StaleError, StoreError
from configs.names import parse_name
from fusion.opening import view_by_name
from fusion.recipe import Choices
from tests.fusion.lab import Lab, refused, spec_of

RUN = commands.extract("run")


def entries(lab: Lab, **changes: Any) -> list[ClipEntry]:
    made = [ClipEntry(c, f"room{i // 2}", f"{i:064x}") for i, c in enumerate(lab.clips)]
    made[2] = dataclasses.replace(made[2], **changes)
    return made


def test_datasets_with_other_parameters(lab: Lab) -> None:
    lab.store("vgm", parameters={"size": 8})
    lab.store("vlm", spec_of("llm"), parameters={"size": 16})
    text = refused(lab, StoreError)
    assert "different datasets" in text and "parameters.size: 8 -> 16" in text and f"{RUN} model=vgm" in text


def test_other_datasets(lab: Lab) -> None:
    from fusion.views.align import align_clips

    one, two = lab.store("vgm"), lab.store("vlm", dataset="other")
    with pytest.raises(StoreError, match="name: 'toy' -> 'other'"):
        align_clips([one, two])


def test_clips_in_other_groups_would_be_split_otherwise(lab: Lab) -> None:
    lab.store("vgm")
    lab.store("vlm", clips=entries(lab, group_id="elsewhere"))
    text = refused(lab, StoreError)
    assert "clip2" in text and "splits" in text and "elsewhere" in text
    assert re.search(rf"rm -r \S*/vlm/\w+ && {RUN} model=vlm dataset=toy layers=21 grid=4x6", text)


def test_frames_that_changed_between_extractions(lab: Lab) -> None:
    shutil.rmtree(lab.root / "datasets")  # with it, the store that differs from it is refused by itself
    lab.store("vgm")
    lab.store("vlm", clips=entries(lab, input_sha256="f" * 64))
    text = refused(lab, StaleError)
    assert "clip2" in text and "ffffffffffff" in text
    assert re.search(rf"rm -r \S*/vgm/\w+ && {RUN} model=vgm .*; or rm -r \S*/vlm/", text)


def test_clips_that_one_model_lacks(lab: Lab) -> None:
    lab.store("vgm")
    lab.store("vlm", clips=[e for e in entries(lab) if e.clip_id != "clip4"])
    text = refused(lab, MissingError)
    assert "vlm lacks 1 clips" in text and "clip4" in text
    assert f"{RUN} model=vlm dataset=toy layers=21 grid=4x6; or" in text and "clips=common" in text
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), choices=Choices(clips="common"))
    assert view.clips == lab.clips[:4]


def test_clips_that_one_model_has_not_made_yet_or_set_aside(lab: Lab) -> None:
    lab.store("vgm")
    late = lab.store("vlm", spec_of("llm"), written=[0, 1, 2])
    late.quarantine("clip3", "decode error")
    text = refused(lab, MissingError)
    assert "clip3, clip4" in text and "decode error" in text and "fills the gaps" in text


def test_slots_that_one_model_does_not_serve(lab: Lab) -> None:
    lab.store("vgm")
    spec = spec_of("llm")
    short = dataclasses.replace(spec, row_of_slot=(*spec.row_of_slot[:18], -1, -1))
    lab.store("vlm", short)
    assert "slots=common" in refused(lab, StoreError)
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), choices=Choices(slots="common"))
    (array,) = view.arrays.values()
    assert array.row_of_slot == (*range(18), -1, -1) and array.rows == 18


def test_slots_that_mean_other_moments(lab: Lab) -> None:
    lab.store("vgm")
    lab.store("vlm", spec_of("llm", shift=100))
    text = refused(lab, StoreError)
    assert "slot 0 means different moments" in text and "temporal=aligned" in text
