"""Names become stores and views; training clips come from the dataset."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from configs import commands
from configs.errors import ConfigError, CorruptionError, DatasetError, MissingError, StoreError
from configs.names import parse_name
from fusion.opening import open_source, training_clips, view_by_name
from fusion.recipe import Choices
from tests.fusion.lab import Lab, refused, spec_of

RUN, FUSE = commands.extract("run"), commands.fusion("fuse")


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


def test_several_stores_of_one_model(lab: Lab) -> None:
    lab.pair()
    lab.store("vlm", spec_of("llm", block=22, channels=8), version=2)
    text = refused(lab, StoreError)
    (command,) = re.findall(rf"{FUSE} model=vgm\+vlm dataset=toy stores=(\w{{6}},\w{{6}}) root={lab.root}", text)
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"), command.split(","))
    assert Path(view.parents[1].where).name.startswith(command.split(",")[1])


def test_unknown_layers_and_models(lab: Lab) -> None:
    lab.pair()
    assert "layers=7" in refused(lab, MissingError, layers=["7", "22"])
    assert "vgm, vlm" in refused(lab, ConfigError, layers=["21"])
    assert f"{RUN} model=absent dataset=toy root={lab.root}" in refused(lab, MissingError, "vgm+absent")


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
