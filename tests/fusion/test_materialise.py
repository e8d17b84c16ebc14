"""Materialised fusions: the same values as the lazy view, through the store's own writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureStore
from cache.care.verify import verify
from configs.names import parse_name
from fusion.materialise import materialise
from fusion.opening import open_source, view_by_name
from fusion.recipe import Choices, make_recipe
from fusion.views.view import FusedView
from tests.fusion.lab import Lab

Whole = Callable[[Any, str], torch.Tensor]
NAMES = ["vgm+vlm", "vgm+vlm@concat", "vgm+vlm@l2", "vgm+vlm@zscore", "vgm+vlm@pca5", "vgm+vlm@sum5", "vgm+noise~7"]


def make(lab: Lab, text: str, dtype: str) -> FusedView:
    name = parse_name(text)
    recipe = make_recipe(name.variant, name.width)
    return view_by_name(lab.root, "toy", name, recipe=recipe, choices=Choices(grid="4x6", dtype=dtype))


@pytest.mark.parametrize("name", NAMES)
def test_lazy_and_materialised_agree_exactly_in_float32_and_in_the_stored_dtype(
    lab: Lab, whole: Whole, name: str
) -> None:
    lab.pair()
    exact = make(lab, name, "float32")
    for dtype in ("float32", "bfloat16"):
        lazy = make(lab, name, dtype)
        stored = materialise(lazy, lab.root)
        assert stored.missing() == [] and verify(stored.backend) == []
        assert stored.fingerprint_digest == lazy.fingerprint_digest
        assert stored.arrays == lazy.arrays and stored.entries == list(lazy.entries)
        for clip_id in lab.clips:
            assert torch.equal(whole(stored, clip_id), whole(lazy, clip_id))
            rounded = whole(exact, clip_id).to(getattr(torch, dtype)).float()
            assert torch.equal(whole(stored, clip_id), rounded)


def test_statistics_of_a_view_are_those_of_its_store(lab: Lab) -> None:
    lab.pair()
    lazy = make(lab, "vgm+vlm", "bfloat16")
    stored = materialise(lazy, lab.root)
    (name,) = lazy.arrays
    for one, two in zip(lazy.statistics(name, lab.clips), stored.statistics(name, lab.clips), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_fingerprint_lists_the_parents(lab: Lab) -> None:
    one, two = lab.pair()
    stored = materialise(make(lab, "vgm+vlm", "float32"), lab.root)
    listed = stored.fingerprint["parents"]
    assert [parent["source"] for parent in listed] == ["vgm", "vlm"]
    assert [parent["fingerprint"] for parent in listed] == [one.fingerprint, two.fingerprint]


def test_an_interrupted_job_continues_and_ends_with_the_same_bytes(lab: Lab, whole: Whole) -> None:
    lab.pair()
    view = make(lab, "vgm+vlm", "bfloat16")
    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if len(done) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialise(view, lab.root, stop)
    path = lab.root / "features" / "toy" / "vgm+vlm" / view.fingerprint_digest[:12]
    assert len(FeatureStore.open(path).missing()) == 3
    stored = materialise(view, lab.root)
    assert stored.missing() == []
    again: list[int] = []
    materialise(view, lab.root, again.append)
    assert again == []  # nothing is written twice
    assert all(torch.equal(whole(stored, clip_id), whole(view, clip_id)) for clip_id in lab.clips)


def test_the_materialised_store_is_what_the_name_opens(lab: Lab) -> None:
    lab.pair()
    view = view_by_name(lab.root, "toy", parse_name("vgm+vlm"))
    assert isinstance(open_source(lab.root, "toy", "vgm+vlm"), FusedView)
    stored = materialise(view, lab.root)
    opened = open_source(lab.root, "toy", "vgm+vlm")
    assert isinstance(opened, FeatureStore) and opened.where == stored.where


def test_clips_that_a_parent_lacks_come_later(lab: Lab) -> None:
    lab.pair()
    lab.store("late", written=[0, 1])
    name = parse_name("vlm+late")
    view = view_by_name(lab.root, "toy", name, choices=Choices(clips="common"))
    assert materialise(view, lab.root).missing() == ["clip2", "clip3", "clip4"]
    late = lab.store("late", written=[2, 3, 4])
    view.refresh()
    assert late.missing() == [] and materialise(view, lab.root).missing() == []
