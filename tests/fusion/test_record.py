"""Records of views: found by name, stale after a new extraction, made again by the command they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import commands
from configs.errors import CorruptionError, MissingError, StaleError, StoreError
from configs.names import parse_name
from fusion.opening import open_source, view_by_name
from fusion.recipe import Choices, make_recipe
from fusion.record import find_views, fuse_command, load_record, save_view
from tests.fusion.lab import Lab, spec_of

FUSE = commands.fusion("fuse")


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
    assert f"{FUSE} model=vgm+vlm dataset=toy makes it again" in str(caught.value)
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
    assert fuse_command(record) == f"{FUSE} model=vgm+vlm@pca4 dataset=toy eps=1e-05 layers=21,22 grid=2x3"


def test_that_command_of_a_view_with_another_recipe_than_its_variant(lab: Lab) -> None:
    lab.pair()
    name, recipe = parse_name("vgm+vlm@lnconcat7"), make_recipe("lnconcat", 7, {"project": "random"})
    view = view_by_name(lab.root, "toy", name, recipe=recipe)
    record = load_record(save_view(str(lab.root), view, recipe, Choices(), []))
    assert fuse_command(record) == f"{FUSE} model=vgm+vlm@lnconcat7 dataset=toy project=random"


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
