"""Writer and reader: what goes in comes out, in the stated types, through the project and through plain libraries."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from configs import commands
from configs.errors import DatasetError, MissingError, VersionError
from data.dataset.clip import QUERY_POSITIONS, Clip
from data.dataset.clip_files import round_depth, write_clip
from data.dataset.layout import VERSION, clip_folder
from data.dataset.reader import PreparedDataset
from data.prepare.prepare import prepare
from tests.data.toy import DEFAULT_SHAPES, Shape, ToySource, toy_clip


@pytest.mark.parametrize("clip_id", list(DEFAULT_SHAPES))
def test_round_trip(toy: PreparedDataset, clip_id: str) -> None:
    made = toy_clip(clip_id, DEFAULT_SHAPES[clip_id])
    positions = toy.positions(clip_id)
    assert np.array_equal(positions, np.arange(len(made.frames)) if made.positions is None else made.positions)
    cameras = toy.cameras(clip_id, positions.tolist())
    assert np.array_equal(cameras.cam2world, made.cam2world)  # -inf of invalid poses included
    assert np.array_equal(cameras.intrinsics, made.intrinsics)
    assert np.array_equal(cameras.valid, made.pose_valid)
    assert made.class_pixels is not None and made.depth is not None and made.instance is not None
    assert np.array_equal(toy.class_pixels(clip_id, positions.tolist()), made.class_pixels)
    source, duplicate = toy.sources(clip_id)
    assert np.array_equal(source, made.frame_src) and np.array_equal(duplicate, made.frame_dup)
    some = made.gt_frames[[2, 0]].tolist()
    depth = toy.depth(clip_id, some)
    assert depth.dtype == np.float32 and np.array_equal(depth, round_depth(made.depth)[[2, 0]])
    ids = toy.instance_maps(clip_id, some)
    assert ids.dtype == np.uint16 and np.array_equal(ids, made.instance[[2, 0]])
    frames = toy.frames(clip_id, [int(positions[1])])
    assert frames.shape == (1, *made.frame_size, 3)
    assert np.array_equal(frames[0], np.asarray(Image.open(io.BytesIO(made.frames[1]))))
    assert toy.frame_size(clip_id) == made.frame_size and toy.gt_size(clip_id) == made.gt_size
    assert toy.confidence(clip_id, some) is None
    assert toy.query_positions(clip_id) == tuple(p for p in QUERY_POSITIONS if p in positions)
    table = toy.instances(clip_id)
    assert table["raw_label"].tolist() == ["wall", "armchair", "ceiling"]
    assert table["class_index"].tolist() == [0, 4, -1]
    assert table["is_thing"].tolist() == [False, True, False]
    assert table["source_id"].tolist() == [10, 20, 31]


def test_index(toy: PreparedDataset) -> None:
    clips = toy.clips
    assert list(clips["clip_id"]) == list(DEFAULT_SHAPES)
    row = clips.loc["invalid_00"]
    assert row["n_pose_invalid"] == 2 and row["warnings"] == "frame 80 is repeated" and row["n_dup_frames"] == 1
    assert row["median_depth"] == 3.0 and row["baseline"] == pytest.approx(0.8, abs=1e-6)
    assert clips.loc["query_00", "n_frames"] == 20 and clips.loc["query_00", "last_position"] == 73
    assert clips.loc["long_00", "rgb_w"] == 96 and clips.loc["long_00", "gt_w"] == 50
    assert clips["brightness"].between(0, 255).all()  # facts become columns


def test_depth_error_bound() -> None:
    depth = np.random.default_rng(0).lognormal(1, 1, (3, 16, 16)).astype(np.float32)
    assert np.abs(round_depth(depth) / depth - 1).max() <= 2.0**-13


def test_dense_opens_with_plain_readers(toy_path: Path) -> None:
    import tensorstore
    import zarr
    from zarr.core.metadata import ArrayV3Metadata

    made = toy_clip("plain_00", DEFAULT_SHAPES["plain_00"])
    assert made.depth is not None and made.instance is not None
    folder = clip_folder(toy_path, "plain_00") / "gt.zarr"
    group = zarr.open_group(str(folder), mode="r")
    instance, depth = group["instance"], group["depth"]
    assert isinstance(instance, zarr.Array) and isinstance(depth, zarr.Array)
    assert np.array_equal(np.asarray(instance[:]), made.instance)
    assert group.attrs["positions"] == made.gt_frames.tolist()
    assert isinstance(depth.metadata, ArrayV3Metadata) and depth.metadata.dimension_names == ("frame", "y", "x")
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(folder / "depth")}}
    assert np.array_equal(tensorstore.open(spec).result().read().result(), round_depth(made.depth))


def test_confidence_is_optional_and_kept(tmp_path: Path) -> None:
    clip = toy_clip("a", Shape())
    assert clip.depth is not None
    confidence = np.random.default_rng(0).random(clip.depth.shape).astype(np.float16)
    write_clip(tmp_path, dataclasses.replace(clip, confidence=confidence), n_classes=20, parameters_sha256="0" * 64)
    from data.dataset.clip_files import read_dense

    assert np.array_equal(read_dense(tmp_path / "clips/a/gt.zarr", "confidence", [5]), confidence[[2]])


def test_missing_things_are_named(toy: PreparedDataset) -> None:
    with pytest.raises(MissingError, match="plain_00"):
        toy.frames("plain_0", [0])
    with pytest.raises(MissingError, match="no position 81"):
        toy.cameras("plain_00", [0, 81])
    with pytest.raises(MissingError, match="no depth at position 2"):
        toy.depth("plain_00", [2])
    with pytest.raises(MissingError, match="no position 2"):
        toy.frames("query_00", [2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frame_size": (1, 1)}, "frame 0"),
        ({"frames": []}, "without frames"),
        ({"frames": [b"nonsense"] * 81}, "not an image"),
        ({"clip_id": "../evil"}, "clip id"),
        ({"clip_id": ""}, "clip id"),
        ({"cam2world": np.full((81, 4, 4), np.nan, np.float32)}, "cam2world"),
        ({"cam2world": np.tile(np.diag([1, 1, -1, 1]).astype(np.float32), (81, 1, 1))}, "det"),
        ({"cam2world": np.tile(np.diag([2, 2, 2, 1]).astype(np.float32), (81, 1, 1))}, "orthonormal"),
        ({"intrinsics": np.zeros((81, 3, 3), np.float32)}, "fx, fy > 0"),
        ({"depth": np.full((20, 32, 40), -1, np.float32)}, "depth"),
        ({"depth": np.full((20, 32, 40), np.nan, np.float32)}, "depth"),
        ({"depth": np.ones((20, 32, 41), np.float32)}, "depth"),
        ({"depth": None, "confidence": np.ones((20, 32, 40), np.float16)}, "confidence"),
        ({"confidence": np.full((20, 32, 40), 2, np.float16)}, "confidence"),
        ({"instance": np.full((20, 32, 40), 4, np.uint16)}, "ids up to 3"),
        ({"instance": np.ones((20, 32, 40), np.int32)}, "uint16"),
        ({"class_pixels": np.zeros((81, 19), np.int32)}, "class_pixels"),
        ({"gt_frames": np.array([*range(19), 81], np.int32)}, "gt_frames"),
        ({"positions": np.zeros(81, np.int32)}, "positions"),
        ({"split": "test"}, "split"),
        ({"gt_size": (0, 40)}, "gt_size"),
    ],
)
def test_contract_violations_are_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    clip = dataclasses.replace(toy_clip("a", Shape()), **change)
    with pytest.raises(DatasetError, match=message):
        write_clip(tmp_path, clip, n_classes=20, parameters_sha256="0" * 64)
    assert not list(tmp_path.rglob("*.json"))


def test_full_sizes(tmp_path: Path) -> None:
    """The sizes of the rooms and of ScanNet; 150 positions are those of the toy dataset `long_00`."""
    shapes = {
        "rooms": Shape(frame_size=(128, 128), gt_size=(128, 128)),
        "scannet": Shape(frame_size=(540, 720), gt_size=(540, 720), query_only=True),
    }
    prepare(ToySource(shapes), tmp_path / "d", plans=["paper-8"], workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    assert dataset.depth("scannet", [73]).shape == (1, 540, 720)
    assert dataset.frames("scannet", [73]).shape == (1, 540, 720, 3)


def test_open_by_name(toy_path: Path) -> None:
    root = toy_path.parent.parent
    assert PreparedDataset.open("toy", root).name == "toy"
    with pytest.raises(MissingError, match="did you mean toy") as caught:
        PreparedDataset.open("toys", root)
    assert f"correct dataset=, or make it: {commands.data('prepare')}" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("rooms", commands.data("prepare", kind="rooms")),
        ("rooms-nano", commands.data("prepare", kind="rooms", preset="nano")),
        ("scannet", commands.data("prepare", kind="scannet") + " raw=<folder of the recordings>"),
        ("rooms-mine", "raw=... dataset=rooms-mine"),
        ("kitchen", "raw=... dataset=kitchen"),
    ],
)
def test_missing_datasets_are_reported_with_the_command_that_makes_them(
    name: str, command: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingError) as caught:
        PreparedDataset.open(name, tmp_path)
    assert command in " ".join(str(caught.value).split())
    assert ("preset=" in command) == ("preset=" in str(caught.value))


def test_unannotated_clip(tmp_path: Path) -> None:
    source = BareSource({"a": Shape()})
    prepare(source, tmp_path / "d", workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    row = dataset.clips.loc["a"]
    assert not row["has_depth"] and not row["has_instance"] and not row["has_tags"]
    assert len(dataset.instances("a")) == 0
    for read in (dataset.depth, dataset.instance_maps, dataset.class_pixels):
        with pytest.raises(MissingError):
            read("a", [0])


class BareSource(ToySource):
    """A plain video: frames and nothing else."""

    def make(self, clip_id: str) -> Clip:
        return dataclasses.replace(
            super().make(clip_id), depth=None, instance=None, instances=(), class_pixels=None, depth_kind="none"
        )


def test_other_versions_are_refused(toy_path: Path, tmp_path: Path) -> None:
    import json
    import shutil

    path = Path(shutil.copytree(toy_path, tmp_path / "d")) / "dataset.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps(record | {"version": VERSION + 1}))
    with pytest.raises(VersionError, match="another format version") as caught:
        PreparedDataset(path.parent)
    assert "update spatialprobe" in str(caught.value)
    path.write_text(json.dumps(record | {"version": 1}))
    with pytest.raises(VersionError, match="an older format version") as caught:
        PreparedDataset(path.parent)
    assert f"spatialprobe data prepare kind={record['kind']} dataset=d" in str(caught.value)
    path.write_text(json.dumps({"anything": 1}))
    with pytest.raises(DatasetError, match="not a prepared dataset"):
        PreparedDataset(path.parent)
