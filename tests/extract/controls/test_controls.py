"""Sources that are no models: what they say about a clip whose geometry is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import ConfigError
from data.dataset.reader import PreparedDataset
from extract.adapter import Adapter, Batch, Tap, Variant
from extract.families import build_adapter
from extract.job.forward import prepare, read_clip
from extract.model import load_model

GRID = (4, 5)


def source(name: str, **extra: Any) -> Adapter:
    return build_adapter(load_model(name), Variant(extra={"grid": GRID, **extra}))


def features(name: str, dataset: PreparedDataset, clip: str = "clip_00", **extra: Any) -> NDArray[np.float32]:
    adapter = source(name, **extra)
    adapter.load([Tap(name=name)])
    inputs = prepare(dataset, adapter, clip, pin=False).inputs
    found = adapter.forward(Batch(clip_ids=[clip], inputs={key: value[None] for key, value in inputs.items()}))[name][0]
    assert found.shape == (20, *GRID, adapter.spec.taps[name].channels)
    values: NDArray[np.float32] = found.numpy()
    return values


@pytest.fixture(scope="module")
def dataset(toy_dataset: Path) -> PreparedDataset:
    return PreparedDataset(toy_dataset)


def test_pixels_start_with_the_mean_colour(dataset: PreparedDataset) -> None:
    frames = dataset.frames("clip_00", [5]).astype(np.float64) / 255
    found = features("pixels", dataset)[2]
    cells = frames[0].reshape(4, 8, 5, 8, 3)
    assert np.allclose(found[..., :3], cells.mean(axis=(1, 3)), atol=1e-6)
    assert np.allclose(found[..., 3:6], cells.std(axis=(1, 3)), atol=1e-3)
    quarter = cells[:, :4, :, 4:].mean(axis=(1, 3))  # upper right
    assert np.allclose(found[..., 11:14], quarter, atol=1e-6)


def test_position_knows_nothing_of_the_clip(dataset: PreparedDataset) -> None:
    one, other = features("position", dataset, "clip_00"), features("position", dataset, "clip_01")
    assert np.array_equal(one, other)
    assert np.allclose(one[0, 0, :, 0], [-0.8, -0.4, 0, 0.4, 0.8])
    assert len({tuple(cell) for cell in one.reshape(-1, one.shape[-1]).round(5).tolist()}) == 20 * 4 * 5


def test_oracle_groups_say_what_is_there(dataset: PreparedDataset) -> None:
    assert np.allclose(features("oracle", dataset, groups=["depth"]), np.log(3.0))
    normal = features("oracle", dataset, groups=["normal"])
    assert np.allclose(normal, [0, 0, -1], atol=1e-4)  # a wall that faces the camera
    rays = features("oracle", dataset, groups=["rays"])
    centre = rays[0, :, 2].mean(axis=0)
    assert np.allclose(centre[:2] / centre[2], 0, atol=1e-6)
    slot, position = 10, 37
    origin = np.array([position * 0.01, 0, 0])  # the toy camera slides along x
    assert np.allclose(rays[slot, ..., 3:], np.cross(origin, rays[slot, ..., :3]), atol=1e-5)
    classes = features("oracle", dataset, groups=["classes"])
    assert np.all(classes.sum(axis=-1) <= 1 + 1e-6)
    ids = dataset.instance_maps("clip_00", [0])[0]
    assert np.isclose(classes[0, ..., 0].mean(), (ids == 1).mean(), atol=1e-6)


def test_oracle_codes_tell_instances_apart(dataset: PreparedDataset) -> None:
    codes = features("oracle", dataset, groups=["code"])
    assert np.array_equal(codes, features("oracle", dataset, groups=["code"]))
    assert not np.allclose(codes, features("oracle", dataset, "clip_01", groups=["code"]))


def test_oracle_groups_are_concatenated_in_one_order(dataset: PreparedDataset) -> None:
    both = features("oracle", dataset, groups=["depth", "colour"])
    assert np.array_equal(both[..., :3], features("oracle", dataset, groups=["colour"]))
    assert np.array_equal(both[..., 3:], features("oracle", dataset, groups=["depth"]))


def test_oracle_noise_is_seeded(dataset: PreparedDataset) -> None:
    clean = features("oracle", dataset, groups=["depth"])
    noisy = features("oracle", dataset, groups=["depth"], oracle_noise=0.5)
    assert np.array_equal(noisy, features("oracle", dataset, groups=["depth"], oracle_noise=0.5))
    assert 0.4 < (noisy - clean).std() < 0.6


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean normal"):
        source("oracle", groups=["normals"])


def test_grids_finer_than_the_pictures_are_refused(dataset: PreparedDataset) -> None:
    adapter = build_adapter(load_model("pixels"), Variant(extra={"grid": (64, 64)}))
    with pytest.raises(ConfigError, match="finer than the pictures"):
        adapter.preprocess(read_clip(dataset, adapter, "clip_00"))


def test_short_clips_are_continued_by_their_last_frame(dataset: PreparedDataset) -> None:
    adapter = source("pixels")
    clip = read_clip(dataset, adapter, "short_00")
    assert clip.length == 30
    assert len(clip.frames) == 20
    last = dataset.frames("short_00", [29])[0]
    assert all(np.array_equal(frame, last) for frame in clip.frames[8:])  # 29 is slot 8
    assert np.array_equal(clip.frames[:8], dataset.frames("short_00", [0, 1, 5, 9, 13, 17, 21, 25]))
    features("oracle", dataset, "short_00")


def test_sources_without_weights_are_never_called_untrained(root: Path) -> None:
    from cache import FeatureStore
    from cache.locate import locate_store
    from extract.job.config import RunConfig
    from extract.job.extraction import run
    from extract.job.request import resolve_request

    random = RunConfig(model="pixels", dataset="toy", grid=["4x5"], weights="random", size="tiny", root=str(root))
    assert run(resolve_request(random, "cpu")) == 0
    store = FeatureStore.open(locate_store(str(root), dataset="toy", source="pixels"))
    assert not any(spec.extra["untrained"] for spec in store.arrays.values())
