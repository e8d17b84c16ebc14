"""Values, alignment and reading of fused views."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cache import FeatureLoader, FeatureStore
from configs.errors import CorruptionError, MissingError, StoreError
from configs.names import parse_name
from fusion.opening import open_source
from fusion.recipe import Choices, make_recipe
from fusion.views.assemble import build
from fusion.views.view import FusedView
from tests.fusion.lab import Lab, spec_of

Whole = Callable[[Any, str], torch.Tensor]


def pooled(maps: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Adaptive average pooling written out: bin i covers floor(i*n/m) to ceil((i+1)*n/m)."""
    rows, height, width, channels = maps.shape
    out = np.zeros((rows, *grid, channels))
    for y in range(grid[0]):
        for x in range(grid[1]):
            ys = slice(y * height // grid[0], -(-(y + 1) * height // grid[0]))
            xs = slice(x * width // grid[1], -(-(x + 1) * width // grid[1]))
            out[:, y, x] = maps[:, ys, xs].mean(axis=(1, 2))
    return out


def layer_normed(maps: np.ndarray) -> np.ndarray:
    mean, variance = maps.mean(-1, keepdims=True), maps.var(-1, keepdims=True)
    return np.asarray((maps - mean) / np.sqrt(variance + 1e-6))


def make(lab: Lab, name: str, **choices: Any) -> FusedView:
    parsed = parse_name(name)
    parents = [FeatureStore.open(next((lab.root / "features/toy" / b.source).iterdir())) for b in parsed.branches]
    train = lab.clips[:3]
    recipe = make_recipe(parsed.variant, parsed.width)
    return build(parsed, parents, recipe, Choices(**choices), train_clips=train)


def test_published_fusion_equals_its_definition(lab: Lab, whole: Whole) -> None:
    one, two = lab.pair()
    view = make(lab, "vgm+vlm", dtype="float32")
    for clip_id in lab.clips:
        first, second = whole(one, clip_id).double().numpy(), whole(two, clip_id).double().numpy()
        expected = np.concatenate([layer_normed(pooled(first, (4, 6))), layer_normed(second)], axis=-1)
        found = whole(view, clip_id).numpy()
        assert found.shape == (20, 4, 6, 20)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-5)


def test_the_order_of_models_is_the_order_of_channels(lab: Lab, whole: Whole) -> None:
    lab.pair()
    forward, backward = make(lab, "vgm+vlm", grid="4x6"), make(lab, "vlm+vgm", grid="4x6")
    one, two = whole(forward, "clip1"), whole(backward, "clip1")
    assert torch.equal(one[..., :12], two[..., 8:]) and torch.equal(one[..., 12:], two[..., :8])


def test_raw_concatenation_keeps_stored_values(lab: Lab, whole: Whole) -> None:
    one = lab.store("vgm", spec_of("dit", channels=12))
    two = lab.store("vlm", spec_of("llm", channels=8))
    found = whole(make(lab, "vgm+vlm@concat"), "clip2")
    assert torch.equal(found, torch.cat([whole(one, "clip2"), whole(two, "clip2")], dim=-1))


def test_rows_follow_slots_where_models_have_different_rows(lab: Lab, whole: Whole) -> None:
    one = lab.store("vgm", spec_of("dit", rows=11, channels=4))
    two = lab.store("vlm", spec_of("llm", rows=20, channels=4))
    view = make(lab, "vgm+vlm@concat")
    (array,) = view.arrays.values()
    assert array.rows == 20
    for slot in (0, 1, 7, 19):
        (row,) = array.rows_of([slot])
        found = view.read([("clip0", array.name, [row])])[0][0]
        expected = torch.cat([whole(one, "clip0")[slot * 11 // 20], whole(two, "clip0")[slot]], dim=-1)
        assert torch.equal(found.float(), expected)


def test_models_with_shared_rows_give_as_few_fused_rows(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", rows=11))
    lab.store("vlm", spec_of("llm", rows=11))
    assert next(iter(make(lab, "vgm+vlm").arrays.values())).rows == 11


def test_reads_touch_only_the_rows_asked_for(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.store("vgm", spec_of("dit", rows=11, channels=16))
    lab.store("vlm", spec_of("llm", rows=20, channels=8))
    view = make(lab, "vgm+vlm")
    (name,) = view.arrays
    view.read([("clip0", name, [0])])
    seen: list[int] = []
    preadv = os.preadv

    def counting(file: int, buffers: Any, offset: int, *flags: int) -> int:
        seen.append(preadv(file, buffers, offset, *flags))
        return seen[-1]

    monkeypatch.setattr(os, "preadv", counting)
    view.read([("clip1", name, [0, 1, 12])])  # slots 0 and 1 share a row of vgm
    assert sum(seen) == 4 * 6 * 2 * (2 * 16 + 3 * 8)


def test_values_do_not_depend_on_what_is_read_with_them(lab: Lab, whole: Whole) -> None:
    lab.pair()
    for name in ("vgm+vlm", "vgm+vlm@pca5", "vgm+vlm@zscore", "vgm+vlm@sum4", "vgm~30+vlm"):
        view = make(lab, name, dtype="float32")
        (array,) = view.arrays
        everything = whole(view, "clip3")
        some = view.read([("clip3", array, [17, 2, 2]), ("clip3", array, [0, 9, 4])])
        assert isinstance(some, torch.Tensor)
        assert torch.equal(some[0], everything[[17, 2, 2]]) and torch.equal(some[1], everything[[0, 9, 4]])


def test_deferred_reading_gives_the_same_values(lab: Lab, whole: Whole) -> None:
    """Branches read apart by the loader and fused by the consumer: on the CPU the same bits, vectorised nearly so."""
    lab.pair()
    for name in ("vgm+vlm", "vgm+vlm@sum4", "vgm+vlm@l2"):
        view = make(lab, name, dtype="float32")
        (array,) = view.arrays
        samples = [(clip_id, array, [0, 3]) for clip_id in lab.clips]
        for batch in FeatureLoader(view.branch_reads(), samples, 2, seed=1):
            found = batch["features"].to("cpu").fuse()
            expected = torch.stack([whole(view, lab.clips[number])[[0, 3]] for number in batch["index"].tolist()])
            assert torch.equal(found, expected)
            maps = [m.flatten(0, 1) for m in batch["features"].features]
            vectorised = [b.compute(m) for b, m in zip(view.fused[array].branches, maps, strict=True)]
            joined = torch.stack(vectorised).sum(0) if name.endswith("sum4") else torch.cat(vectorised, -1)
            torch.testing.assert_close(joined.view_as(expected), expected, rtol=1e-5, atol=1e-5)


def test_deferred_batches_are_of_one_array_and_shape(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", block=19), spec_of("dit", block=21))
    lab.store("vlm", spec_of("llm"))
    view = make(lab, "vgm+vlm")
    one, two = view.arrays
    with pytest.raises(StoreError, match="of one array"):
        view.branch_reads().read([("clip0", one, [0]), ("clip0", two, [0])])
    with pytest.raises(StoreError, match="equally many rows"):
        view.branch_reads().read([("clip0", one, [0]), ("clip0", one, [0, 1])])
    assert view.parents[0].branch_reads() is view.parents[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_stored_dtypes_are_rounded_once(lab: Lab, whole: Whole, dtype: str) -> None:
    lab.pair()
    exact, rounded = make(lab, "vgm+vlm", dtype="float32"), make(lab, "vgm+vlm", dtype=dtype)
    (name,) = rounded.arrays
    found = rounded.read([("clip0", name, range(20))])
    assert isinstance(found, torch.Tensor) and found.dtype == getattr(torch, dtype)
    assert torch.equal(found[0], whole(exact, "clip0").to(found.dtype))


def test_loader_reads_a_view_like_a_store(lab: Lab, whole: Whole) -> None:
    lab.pair()
    view = make(lab, "vgm+vlm")
    (name,) = view.arrays
    samples = [(clip_id, name, [0, 3]) for clip_id in lab.clips]
    for batch in FeatureLoader(view, samples, 2, seed=1):
        for number, features in zip(batch["index"].tolist(), batch["features"], strict=True):
            assert torch.equal(features.float(), whole(view, lab.clips[number])[[0, 3]])


def test_a_view_answers_like_a_store(lab: Lab, whole: Whole) -> None:
    one, _ = lab.pair()
    view = make(lab, "vgm+vlm")
    (name,) = view.arrays
    assert name == "dit.b21.6x8-llm.b22.4x6"
    assert view.source == "vgm+vlm" and view.dataset == "toy"
    assert view.clips == one.clips and view.entry("clip4") == one.entry("clip4")
    assert view.coverage() == {name: 1.0} and view.committed(name) == one.clips and view.missing() == []
    assert view.array(name).block == 21 and view.array(name).channels == 20
    with pytest.raises(MissingError, match="no array 'dit'"):
        view.array("dit")
    with pytest.raises(MissingError, match="no clip 'clap1'"):
        view.read([("clap1", name, [0])])
    with pytest.raises(MissingError, match="no row 20"):
        view.read([("clip1", name, [20])])
    again = pickle.loads(pickle.dumps(view))
    assert torch.equal(whole(again, "clip0"), whole(view, "clip0"))
    out = torch.empty(view.nbytes([("clip0", name, [5])]), dtype=torch.uint8)
    assert torch.equal(view.read([("clip0", name, [5])], out)[0].float(), whole(view, "clip0")[[5]])


def test_layers_give_all_combinations_or_the_chosen_one(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", block=19), spec_of("dit", block=21))
    lab.store("vlm", spec_of("llm", block=22))
    assert list(make(lab, "vgm+vlm").arrays) == ["dit.b19-llm.b22.4x6", "dit.b21-llm.b22.4x6"]
    assert list(make(lab, "vgm+vlm", layers=["21", "all"]).arrays) == ["dit.b21-llm.b22.4x6"]


def test_parts_are_the_arrays_that_fused_ones_are_made_of(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", block=19), spec_of("dit", block=21))
    lab.store("vlm", spec_of("llm", block=22))
    view = make(lab, "vgm+vlm")

    def parts(*names: str) -> dict[str, list[str]]:
        return {parent.source: [array.name for array in arrays] for parent, arrays in view.parts(names)}

    assert parts("dit.b21-llm.b22.4x6") == {"vgm": ["dit.b21.4x6"], "vlm": ["llm.b22.4x6"]}
    assert parts(*view.arrays) == {"vgm": ["dit.b19.4x6", "dit.b21.4x6"], "vlm": ["llm.b22.4x6"]}


def test_clips_without_features_are_known_and_read_as_nan_only_on_request(lab: Lab) -> None:
    lab.store("vgm", written=[0, 1, 2])
    lab.store("vlm", spec_of("llm"), written=[0, 1, 2, 3])
    view = make(lab, "vgm+vlm", clips="common")
    (name,) = view.arrays
    assert view.missing() == ["clip3", "clip4"] and view.coverage()[name] == pytest.approx(0.6)
    with pytest.raises(MissingError, match="clip3"):
        view.read([("clip3", name, [0])])
    found = view.read([("clip3", name, [0])], allow_partial=True)[0]
    assert found[..., :12].isnan().all() and not found[..., 12:].isnan().any()
    assert ("clip3", name) in view.partial


def test_a_fusion_of_three_and_of_a_fusion(lab: Lab, whole: Whole) -> None:
    lab.pair()
    three = lab.store("third", spec_of("vit", block=None, channels=4))
    view = make(lab, "vgm+vlm+third@concat", dtype="float32")
    assert whole(view, "clip0").shape[-1] == 24
    inner = make(lab, "vgm+vlm@concat", dtype="float32")
    nested = build(parse_name("vgm+vlm"), [inner, three], make_recipe("concat"))
    assert torch.equal(whole(nested, "clip0"), whole(view, "clip0"))


def test_plain_names_open_stores_and_joined_ones_views(lab: Lab) -> None:
    lab.pair()
    assert isinstance(open_source(lab.root, "toy", "vgm"), FeatureStore)
    assert isinstance(open_source(lab.root, None, "vgm+vlm"), FusedView)


def test_a_changed_row_of_a_parent_stops_the_view_and_its_loader(lab: Lab) -> None:
    lab.store("vgm", spec_of("dit", channels=4))
    two = lab.store("vlm", spec_of("llm", channels=4))
    path = next(Path(two.where).glob("features.zarr/*/c.1.0.0.0.0"))
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    name = next(iter(make(lab, "vgm+vlm@concat").arrays))
    with pytest.raises(CorruptionError, match="row 0 of clip clip1 has changed"):
        make(lab, "vgm+vlm@concat").read([("clip1", name, [0])])
    view = make(lab, "vgm+vlm@concat")
    loader = FeatureLoader(view.branch_reads(), [(clip, name, [0]) for clip in lab.clips], 1, shuffle=False)
    with pytest.raises(CorruptionError, match="row 0 of clip clip1 has changed"):
        for _ in loader:
            pass
