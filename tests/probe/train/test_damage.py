"""A byte that has changed in features or ground truth stops training and names file and command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from configs.errors import CorruptionError
from probe.train.train import train

Configure = Callable[..., Any]


def flip(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("split", ["train", "report"])
def test_a_flipped_byte_in_a_shard_stops_training(own_artifacts: Path, configure: Configure, split: str) -> None:
    (store,) = (path.parent for path in own_artifacts.glob("features/toy/speckle/*/store.json"))
    number = 0 if split == "train" else 11
    shard = next(store.glob(f"features.zarr/*/c.{number}.0.0.0.0"))
    for row in range(20):  # the last byte of every row: of the mantissa or the exponent of one value
        flip(shard, (row + 1) * (4 * 4 * 8 * 2) - 1)
    with pytest.raises(CorruptionError, match="has changed since it was written") as caught:
        train(configure(own_artifacts, "tagging"))
    assert str(caught.value.where) == str(shard) and "cache repair" in str(caught.value.fix)
    assert not list(own_artifacts.glob("results/*.json"))


@pytest.mark.parametrize(("task", "array"), [("instance", "instance"), ("geometry", "depth")])
@pytest.mark.parametrize("file", ["gt.zarr/zarr.json", "gt.zarr/{}/zarr.json", "gt.zarr/{}/c/0/0/0"])
def test_a_flipped_byte_in_the_ground_truth_stops_training(
    own_artifacts: Path, configure: Configure, task: str, array: str, file: str
) -> None:
    path = own_artifacts / "datasets/toy/clips/room_10" / file.format(array)  # of the report split
    flip(path, 100)
    with pytest.raises(CorruptionError, match="not the file that was written") as caught:
        train(configure(own_artifacts, task))
    assert str(caught.value.where) == str(path) and "data prepare" in str(caught.value.fix)
    assert not list(own_artifacts.glob("results/*.json"))


def test_lost_depth_is_not_read_as_unknown(own_artifacts: Path, configure: Configure) -> None:
    path = own_artifacts / "datasets/toy/clips/room_00/gt.zarr/depth/c/0/0/0"
    path.unlink()
    with pytest.raises(CorruptionError, match="missing"):
        train(configure(own_artifacts, "geometry"))
