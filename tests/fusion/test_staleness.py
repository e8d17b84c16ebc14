"""Features of clips that the dataset doesn't hold any more are never read, by whatever name they are opened."""

from __future__ import annotations

import logging
import shutil

import pytest

from configs.cli import main
from configs.errors import StaleError
from configs.names import parse_name
from fusion.__main__ import VERBS
from fusion.opening import open_source, view_by_name
from fusion.staleness import changed_clips, check_features
from tests.fusion.lab import SPLITS, Lab

FUSE = ["fuse", "model=vgm vlm", "dataset=toy"]


def fuse(lab: Lab, *words: str) -> int:
    return main("fusion", "", VERBS, [*FUSE, f"root={lab.root}", *words])


@pytest.mark.parametrize("name", ["vgm", "vgm+vlm", "vgm@zscore", "vgm+vlm@pca", "vgm+noise~8"])
def test_a_changed_dataset_refuses_every_source(lab: Lab, name: str) -> None:
    lab.pair()
    assert open_source(lab.root, "toy", name).clips == lab.clips
    lab.dataset(content="changed")
    with pytest.raises(StaleError, match=r"5 of 5 clips differ \(clip0, clip1, clip2, \.\.\.\)") as caught:
        open_source(lab.root, "toy", name)
    assert "model=vgm dataset=toy" in (caught.value.fix or "")


@pytest.mark.parametrize("name", ["vgm+vlm", "vlm+vgm", "vgm+vlm@pca"])
def test_every_parent_is_checked(lab: Lab, name: str) -> None:
    lab.store("vgm")
    lab.store("vlm", content="earlier")
    with pytest.raises(StaleError, match="the features of vlm were made from other clips"):
        view_by_name(lab.root, "toy", parse_name(name))


@pytest.mark.parametrize("materialise", ["false", "true"])
def test_a_recorded_and_a_materialised_fusion_are_refused(
    lab: Lab, materialise: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.pair()
    assert fuse(lab, f"materialise={materialise}") == 0
    lab.dataset(content="changed")
    with pytest.raises(StaleError, match="5 of 5 clips differ"):
        open_source(lab.root, "toy", "vgm+vlm")
    assert fuse(lab, "materialise=true") == 1
    assert "5 of 5 clips differ" in capsys.readouterr().err


def test_a_materialised_fusion_is_refused_without_its_parents(lab: Lab) -> None:
    lab.pair()
    assert fuse(lab, "materialise=true") == 0
    (record,) = (lab.root / "features" / "toy" / "vgm+vlm").glob("*.view.json")
    record.unlink()
    for parent in ("vgm", "vlm"):
        shutil.rmtree(lab.root / "features" / "toy" / parent)
    assert open_source(lab.root, "toy", "vgm+vlm").clips == lab.clips
    lab.dataset(content="changed")
    with pytest.raises(StaleError, match="fusion fuse model=vgm"):
        open_source(lab.root, "toy", "vgm+vlm")


def test_the_message_names_the_parameters_and_the_command(lab: Lab) -> None:
    first = lab.dataset(parameters={"seed": 0, "size": 8})
    store = lab.store("vgm", parameters=first.fingerprint, recorded={"dataset": first.made_from})
    lab.dataset(parameters={"seed": 5, "size": 8}, content="changed")
    with pytest.raises(StaleError, match=r"changed in the dataset: seed: 0 -> 5\n") as caught:
        open_source(lab.root, "toy", "vgm")
    assert f"model=vgm dataset=toy layers=21 grid=4x6 root={lab.root}" in (caught.value.fix or "")
    assert "rm" not in (caught.value.fix or "").split()  # the new features get a store of their own
    lab.dataset(parameters={"seed": 0, "size": 8}, content="changed")
    with pytest.raises(StaleError, match="files or raw data behind the same parameters") as caught:
        open_source(lab.root, "toy", "vgm")
    assert f"rm -r {store.where} && " in (caught.value.fix or "")


def test_of_two_stores_the_one_of_the_present_dataset_is_meant(lab: Lab) -> None:
    first = lab.dataset()
    lab.store("vgm", parameters=first.fingerprint)
    now = lab.dataset(parameters={"size": 9}, content="b")
    made = lab.store("vgm", parameters=now.fingerprint, content="b")
    assert open_source(lab.root, "toy", "vgm").where == made.where
    assert view_by_name(lab.root, "toy", parse_name("vgm+noise~4")).parents[0].where == made.where


def test_a_dataset_may_grow_and_shrink(lab: Lab) -> None:
    store = lab.store("vgm")
    grown = lab.dataset([*SPLITS, "train"], [*lab.clips, "clip5"])
    assert changed_clips(store.entries, grown) == []
    assert changed_clips(store.entries, lab.dataset(SPLITS[:2], lab.clips[:2])) == []
    assert open_source(lab.root, "toy", "vgm").clips == lab.clips


def test_one_changed_clip_is_enough(lab: Lab) -> None:
    store = lab.store("vgm")
    dataset = lab.dataset()
    dataset.clips.loc["clip3", "clip_sha256"] = "f" * 64
    with pytest.raises(StaleError, match=r"1 of 5 clips differ \(clip3\)"):
        check_features(store, dataset)


def test_without_the_dataset_features_stay_usable(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    lab.store("vgm")
    shutil.rmtree(lab.root / "datasets")
    with caplog.at_level(logging.INFO, logger="spatialprobe"):
        assert open_source(lab.root, "toy", "vgm").clips == lab.clips
    assert "dataset toy is not here" in caplog.text
