"""What every source of features promises: a store, a view, its deferred twin, noise, and layers side by side."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from cache.source import FeatureSource
from configs.errors import MissingError
from configs.identity import digest
from fusion.opening import open_source
from fusion.views.noise_source import NoiseSource
from fusion.views.view import FusedView, Unfused
from probe.inputs.batches import SideBySide
from probe.inputs.inputs import Layer
from tests.fusion.lab import Lab


def fused(features: torch.Tensor | Unfused) -> torch.Tensor:
    return features.fuse() if isinstance(features, Unfused) else features


def store(lab: Lab) -> FeatureSource:
    return open_source(lab.root, "toy", "vgm")


def view(lab: Lab) -> FeatureSource:
    return open_source(lab.root, "toy", "vgm+vlm")


def deferred(lab: Lab) -> FeatureSource:
    return view(lab).branch_reads()


def noise(lab: Lab) -> FeatureSource:
    source = open_source(lab.root, "toy", "vlm+noise~8")
    assert isinstance(source, FusedView) and isinstance(source.parents[1], NoiseSource)
    return source.parents[1]


def side_by_side(lab: Lab) -> FeatureSource:
    layers = [Layer(source, array) for source in (store(lab), view(lab)) for array in source.arrays.values()]
    return SideBySide(layers)


SOURCES = [store, view, deferred, noise, side_by_side]


@pytest.fixture(params=SOURCES, ids=lambda make: make.__name__)
def source(request: pytest.FixtureRequest, lab: Lab) -> FeatureSource:
    lab.pair()
    make: Callable[[Lab], FeatureSource] = request.param
    return make(lab)


def test_it_says_what_it_is_and_holds(source: FeatureSource, lab: Lab) -> None:
    assert source.dataset == "toy" and source.where and source.source
    assert source.fingerprint_digest == digest(source.fingerprint)
    assert source.clips == [entry.clip_id for entry in source.entries] == lab.clips
    for number, clip_id in enumerate(source.clips):
        assert source.clip_index(clip_id) == number and source.entry(clip_id) is source.entries[number]
    for name, array in source.arrays.items():
        assert source.array(name) is array and array.name == name
        assert source.committed(name) == source.clips and source.coverage()[name] == 1.0
    assert source.missing() == source.missing(source.arrays, quarantined=True) == [] and source.quarantined() == {}
    source.refresh()
    assert source.read([]) == [] and source.nbytes([]) == 0 and source.partial == set()


def test_unknown_names_are_refused_with_the_closest(source: FeatureSource) -> None:
    name = next(iter(source.arrays))
    calls: list[Callable[[], object]] = [
        lambda: source.array(f"{name}x"),
        lambda: source.committed(f"{name}x"),
        lambda: source.missing([f"{name}x"]),
        lambda: source.read([("clip0", f"{name}x", [0])]),
        lambda: source.nbytes([("clip0", f"{name}x", [0])]),
        lambda: source.statistics(f"{name}x", ["clip0"]),
    ]
    for call in calls:
        with pytest.raises(MissingError, match=f"the {source.noun} has no array") as caught:
            call()
        assert f"did you mean {name}" in str(caught.value)
    calls = [lambda: source.clip_index("clip9"), lambda: source.entry("clip9")]
    for call in calls:
        with pytest.raises(MissingError, match=f"the {source.noun} has no clip 'clip9'"):
            call()
    for item in (("clip9", name, [0]), ("clip0", name, [20]), ("clip0", name, [-1])):
        with pytest.raises(MissingError):
            source.read([item])


def test_values_land_where_they_are_asked_for(source: FeatureSource) -> None:
    for name, array in source.arrays.items():
        items = [("clip0", name, [0, 5]), ("clip2", name, [5, 3])]
        new = fused(source.read(items))  # type: ignore[arg-type]
        assert new.shape == (2, 2, *array.shape[1:]) and str(new.dtype) == f"torch.{array.dtype}"
        out = torch.zeros(source.nbytes(items), dtype=torch.uint8)
        kept = source.read(items, out)
        tensors: Sequence[Any] = kept.features if isinstance(kept, Unfused) else [kept]
        assert all(out.data_ptr() <= tensor.data_ptr() < out.data_ptr() + len(out) for tensor in tensors)
        assert torch.equal(fused(kept), new)  # type: ignore[arg-type]
        assert torch.equal(fused(source.read([("clip0", name, [5])]))[0, 0], new[0, 1])  # type: ignore[arg-type]


def test_a_loader_reads_the_same_values_through_branch_reads(source: FeatureSource) -> None:
    twin = source.branch_reads()
    assert twin.clips == source.clips and list(twin.arrays) == list(source.arrays)
    for name in source.arrays:
        items = [("clip1", name, [1, 0])]
        assert torch.equal(fused(twin.read(items)), fused(source.read(items)))  # type: ignore[arg-type]


def test_it_travels_to_other_processes(source: FeatureSource) -> None:
    name = next(iter(source.arrays))
    items = [("clip0", name, [0])]
    before = fused(source.read(items))  # type: ignore[arg-type]
    other = pickle.loads(pickle.dumps(source))
    assert other.fingerprint_digest == source.fingerprint_digest
    assert torch.equal(fused(other.read(items)), before)


def test_statistics_are_those_of_the_values(source: FeatureSource) -> None:
    for name, array in source.arrays.items():
        items = [[(clip_id, name, range(array.rows))] for clip_id in source.clips[:2]]
        cells = torch.cat([fused(source.read(item)).flatten(0, -2) for item in items]).double()  # type: ignore[arg-type]
        count, mean, variance = source.statistics(name, source.clips[:2])
        assert count == len(cells)
        torch.testing.assert_close(torch.from_numpy(mean), cells.mean(0))
        torch.testing.assert_close(torch.from_numpy(variance), cells.var(0, unbiased=False))
