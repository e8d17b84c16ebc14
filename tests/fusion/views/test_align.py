"""What is refused, with what differs and what to do; and what a user may decide instead."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from cache import ArraySpec, ClipEntry
from configs import commands
from configs.errors import (
    ConfigError,
    CorruptionError,
    DatasetError,
    MissingError,
    SpatialprobeError,
    StaleError,
    StoreError,
)
from configs.names import parse_name
from extract.noise import CogVideoXSchedule, FlowSchedule, NoiseSchedule, OpenSoraSchedule
from fusion.opening import open_source, training_clips, view_by_name
from fusion.recipe import Choices, make_recipe
from fusion.record import find_views, fuse_command, load_record, save_view
from fusion.views.grids import refill_command
from tests.fusion.lab import Lab, spec_of

RUN, FUSE = commands.extract("run"), commands.fusion("fuse")


def refused(lab: Lab, kind: type[SpatialprobeError], name: str = "vgm+vlm", **choices: object) -> str:
    with pytest.raises(kind) as caught:
        view_by_name(lab.root, "toy", parse_name(name), choices=Choices(**choices))  # type: ignore[arg-type]
    assert caught.value.fix
    return str(caught.value)


def entries(lab: Lab, **changes: str) -> list[ClipEntry]:
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


@pytest.mark.parametrize("name", ["vgm+vlm@zscore", "vgm+vlm@pca4"])
def test_fits_leave_out_training_clips_that_were_set_aside_only_on_request(lab: Lab, name: str) -> None:
    lab.store("vgm")
    lab.store("vlm", spec_of("llm", channels=8), written=[0, 1, 3, 4]).quarantine("clip2", "decode error")
    parsed, choices = parse_name(name), Choices(clips="common")
    with pytest.raises(MissingError, match="clips=common"):
        view_by_name(lab.root, "toy", parsed)
    view = view_by_name(lab.root, "toy", parsed, choices=choices)
    assert view.missing(quarantined=True) == ["clip2"]
    fewer = view_by_name(lab.root, "toy", parsed, choices=choices, train_clips=lab.clips[:2])
    assert view.fingerprint == fewer.fingerprint


def test_fits_need_features_of_all_training_clips(lab: Lab) -> None:
    lab.store("vgm", written=[0, 3])
    with pytest.raises(MissingError, match="2 training clips have no features") as caught:
        view_by_name(lab.root, "toy", parse_name("vgm@zscore"))
    assert f"{RUN} model=vgm dataset=toy layers=21 grid=4x6; or fit" in str(caught.value)


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


def test_several_stores_of_one_model(lab: Lab) -> None:
    lab.pair()
    lab.store("vlm", spec_of("llm", block=22, channels=8), version=2)
    text = refused(lab, StoreError)
    (command,) = re.findall(rf"{FUSE} models=vgm\+vlm dataset=toy stores=(\w{{6}},\w{{6}}) root={lab.root}", text)
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), command.split(","))
    assert Path(view.parents[1].where).name.startswith(command.split(",")[1])


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


def test_unknown_layers_and_models(lab: Lab) -> None:
    lab.pair()
    assert "layers=7" in refused(lab, MissingError, layers=["7", "22"])
    assert "vgm, vlm" in refused(lab, ConfigError, layers=["21"])
    assert f"{RUN} model=absent dataset=toy root={lab.root}" in refused(lab, MissingError, "vgm+absent")


@pytest.mark.parametrize("name", ["a++b", "a+b@", "a+b@lnconct", "+a", "a+noise", "a b", "a+b~0"])
def test_names_that_mean_nothing(name: str) -> None:
    with pytest.raises(ConfigError):
        parse_name(name)


@pytest.mark.parametrize("name", ["a", "a+b", "a+b@zscore", "a+noise~8", "a@random9216", "a+b@pca4", "a+b@l2"])
def test_names_are_read_as_written(name: str) -> None:
    assert str(parse_name(name)) == name
    assert parse_name(name).joined == (name != "a")


def test_a_view_whose_parent_was_extracted_anew(lab: Lab) -> None:
    lab.pair()
    recipe, choices = make_recipe("lnconcat"), Choices()
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"))
    path = save_view(str(lab.root), view, recipe, choices, [])
    assert open_source(lab.root, "toy", "vgm+vlm").fingerprint == view.fingerprint
    old = Path(view.parents[1].where)
    old.rename(old.parent.parent.parent.parent / "gone")
    with pytest.raises(StaleError, match=r"is gone; there: none") as caught:
        open_source(lab.root, "toy", "vgm+vlm")
    assert f"{FUSE} models=vgm+vlm dataset=toy makes it again" in str(caught.value)
    lab.store("vlm", spec_of("llm", block=22, channels=8), version=2)
    with pytest.raises(StaleError, match="is gone"):
        open_source(lab.root, "toy", "vgm+vlm")
    path.unlink()
    assert open_source(lab.root, "toy", "vgm+vlm").fingerprint != view.fingerprint


def test_the_command_that_makes_a_view_anew_keeps_its_options(lab: Lab) -> None:
    lab.pair()
    name, choices = parse_name("vgm+vlm@pca4"), Choices(grid="2x3", layers=["21", "22"])
    recipe = make_recipe("pca", 4, {"eps": 1e-5})
    view = view_by_name(lab.root, "toy", name, recipe=recipe, choices=choices)
    record = load_record(save_view(str(lab.root), view, recipe, choices, lab.clips[:3]))
    assert fuse_command(record) == f"{FUSE} models=vgm+vlm@pca4 dataset=toy eps=1e-05 layers=21,22 grid=2x3"


def test_that_command_of_a_view_with_another_recipe_than_its_variant(lab: Lab) -> None:
    lab.pair()
    name, recipe = parse_name("vgm+vlm@lnconcat7"), make_recipe("lnconcat", 7, {"project": "random"})
    view = view_by_name(lab.root, "toy", name, recipe=recipe)
    record = load_record(save_view(str(lab.root), view, recipe, Choices(), []))
    assert fuse_command(record) == f"{FUSE} models=vgm+vlm@lnconcat7 dataset=toy project=random"


def test_two_fusions_of_one_name_must_be_told_apart(lab: Lab) -> None:
    lab.pair()
    for dtype in ("float32", "bfloat16"):
        choices = Choices(dtype=dtype)
        view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), choices=choices)
        save_view(str(lab.root), view, make_recipe("lnconcat"), choices, [])
    with pytest.raises(StoreError, match="several fusions"):
        open_source(lab.root, "toy", "vgm+vlm")
    chosen = open_source(lab.root, "toy", "vgm+vlm", view.fingerprint_digest[:8])
    assert chosen.fingerprint_digest == view.fingerprint_digest
    with pytest.raises(MissingError, match="no fusion"):
        open_source(lab.root, "toy", "vgm+vlm", "zzzz")


def test_a_record_that_changed_on_disk(lab: Lab) -> None:
    lab.pair()
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"))
    save_view(str(lab.root), view, make_recipe("lnconcat"), Choices(), [])
    (path,) = find_views(lab.root, "toy", "vgm+vlm")
    path.write_bytes(path.read_bytes().replace(b'"eps": 1e-06', b'"eps": 1e-05'))
    with pytest.raises(CorruptionError, match="digest"):
        open_source(lab.root, "toy", "vgm+vlm")


def test_held_out_clips_are_no_training_clips(lab: Lab) -> None:
    lab.pair()
    assert training_clips(lab.root, "toy") == lab.clips[:3]
    with pytest.raises(DatasetError, match=r"clip3 \(select\), clip4 \(report\)"):
        open_source(lab.root, "toy", "vgm+vlm@zscore", train_clips=lab.clips)
    with pytest.raises(MissingError, match=r"no prepared dataset 'nowhere'[\s\S]*prepare[\s\S]*train_clips="):
        training_clips(lab.root, "nowhere")
    assert training_clips(lab.root, "nowhere", ["b", "a", "b"]) == ["a", "b"]


@pytest.mark.parametrize("given", [None, ["clip0"]])
def test_the_splits_of_a_damaged_or_unfinished_dataset_are_not_used(lab: Lab, given: list[str] | None) -> None:
    folder = lab.root / "datasets" / "toy"
    whole = (folder / "index.parquet").read_bytes()
    (folder / "index.parquet").write_bytes(whole[:-1])
    with pytest.raises(CorruptionError, match=r"index\.parquet"):
        training_clips(lab.root, "toy", given)
    (folder / "index.parquet").write_bytes(whole)
    (folder / "manifest.json").unlink()
    with pytest.raises(MissingError, match=r"manifest\.json"):
        training_clips(lab.root, "toy", given)
