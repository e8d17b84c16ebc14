"""Rooms written as raw DL3DV and imported again are the rooms: frames, cameras and depth."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.dataset.clip import QUERY_POSITIONS, Clip
from data.dataset.reader import PreparedDataset
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import DL3DVSource
from data.look.verify import verify
from data.raw.images import encode_png
from data.rooms.source import RoomsSource
from tests.data.dl3dv.conftest import SCALE, Raw

Load = Callable[..., PreparedDataset]
PLAIN, DISTORTED, NESTED, UPRIGHT = range(4)
QUERY = [p for p in QUERY_POSITIONS if p < 20]


@pytest.fixture(scope="module")
def room(raw: Raw) -> Callable[[int], Clip]:
    """The generator's own clip of a room."""

    @cache
    def make(number: int) -> Clip:
        config = raw.options.rendered()
        if number == UPRIGHT:
            config = dataclasses.replace(config, height=config.width, width=config.height)
        source = RoomsSource(config)
        return source.make(source.clip_ids()[number])

    return make


def pixels(content: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(content)), np.int64)


def coarse(content: bytes) -> NDArray[np.float64]:
    image = pixels(content)
    return np.asarray(image.reshape(image.shape[0] // 4, 4, image.shape[1] // 4, 4, 3).mean(axis=(1, 3)))


def test_equals_the_generators_own_output(raw: Raw, room: Callable[[int], Clip], load: Load) -> None:
    dataset = load(raw.folder, teacher="oracle")
    assert sorted(raw.scenes) == sorted(dataset.clips.index)
    for number in (PLAIN, NESTED, UPRIGHT):
        clip_id, expected = raw.scenes[number], room(number)
        row = dataset.clips.loc[clip_id]
        assert (row["rgb_h"], row["rgb_w"]) == expected.frame_size == (row["gt_h"], row["gt_w"])
        assert row["rgb_h"] > row["rgb_w"] if number == UPRIGHT else row["rgb_h"] < row["rgb_w"]
        assert row["depth_kind"] == row["pose_kind"] == "oracle" and row["group_id"] == clip_id
        positions = dataset.positions(clip_id).tolist()
        assert positions == list(range(20)) and dataset.sources(clip_id)[0].tolist() == list(range(1, 21))
        for stored, own in zip(dataset.frames(clip_id, positions), expected.frames, strict=True):
            assert np.array_equal(stored, pixels(own))  # lossless PNG, then the generator's own JPEG settings
        cameras = dataset.cameras(clip_id, positions)
        assert np.array_equal(cameras.intrinsics, expected.intrinsics) and cameras.valid.all()
        assert np.array_equal(cameras.cam2world, expected.cam2world)
        assert expected.depth is not None
        depth = expected.depth[[p in QUERY for p in expected.gt_frames]]
        limit = 0.0005 + depth * 2**-13 + 1e-6  # half a millimetre, and the rounding of stored depth
        assert (np.abs(dataset.depth(clip_id, QUERY) - depth) <= limit).all()
    assert verify(dataset, workers=1, pairs=2) == 0


def test_poses_of_transforms_json_are_the_rooms_in_another_scale(
    raw: Raw, room: Callable[[int], Clip], load: Load
) -> None:
    dataset = load(raw.folder, teacher="colmap")
    for number in (PLAIN, DISTORTED, NESTED, UPRIGHT):
        clip_id, expected = raw.scenes[number], room(number)
        cameras = dataset.cameras(clip_id, range(20))
        known = cameras.valid
        assert 10 <= known.sum() < 20  # some frames are not registered
        poses = expected.cam2world[known].copy()
        poses[:, :3, 3] *= SCALE
        np.testing.assert_allclose(cameras.cam2world[known], poses, atol=2e-6)
        assert np.isnan(cameras.cam2world[~known]).all()  # flagged, never replaced
        row = dataset.clips.loc[clip_id]
        assert row["n_unregistered"] == row["n_pose_invalid"] == (~known).sum()
        assert row["pose_kind"] == "colmap" and row["depth_kind"] == "none" and not row["has_depth"]
        assert (row["gt_h"], row["gt_w"]) == expected.frame_size
        np.testing.assert_allclose(cameras.intrinsics, expected.intrinsics, rtol=1e-6)


def test_colmap_and_the_truth_agree_after_alignment(raw: Raw, load: Load) -> None:
    index = load(raw.folder, teacher="oracle").clips
    np.testing.assert_allclose(index["teacher_scale"], 1 / SCALE, rtol=1e-4)
    assert (index["teacher_rot_err_deg"] < 1e-3).all() and (index["teacher_ate_relative"] < 1e-4).all()
    assert (index["teacher_frames"] >= 10).all()


def test_jittered_poses_disagree_with_the_truth(emit: Callable[..., Raw], load: Load) -> None:
    raw = emit(clips=1, portrait=0, nested=0, distorted=0, pose_jitter_deg=2.0, pose_jitter_m=0.05)
    row = load(raw.folder, teacher="oracle").clips.iloc[0]
    assert 1 < row["teacher_rot_err_deg"] < 8 and 0.02 < row["teacher_ate"] < 0.2
    assert row["teacher_ate_relative"] > 0.02


def test_frames_that_are_missing_leave_gaps(emit: Callable[..., Raw], load: Load) -> None:
    raw = emit(clips=1, portrait=0, nested=0, distorted=0, missing_prob=0.2)
    dataset = load(raw.folder, teacher="oracle", min_frames=5)
    numbers, repeated = dataset.sources(raw.scenes[0])
    assert len(numbers) < 20 and (np.diff(numbers) > 1).any() and not repeated.any()
    source = RoomsSource(raw.options.rendered())
    expected = source.world(source.clip_ids()[0]).path[numbers - 1]
    cameras = dataset.cameras(raw.scenes[0], range(len(numbers)))
    np.testing.assert_allclose(cameras.cam2world, expected, atol=1e-6)


def test_entries_are_written_in_any_order(raw: Raw) -> None:
    frames = json.loads((raw.scene(PLAIN) / "transforms.json").read_bytes())["frames"]
    paths = [frame["file_path"] for frame in frames]
    assert paths != sorted(paths) and len(paths) < 20


@pytest.mark.parametrize("folder", ["images_4", "images_8"])
def test_intrinsics_are_those_of_the_frames_that_are_read(emit: Callable[..., Raw], folder: str) -> None:
    raw = emit(clips=1, portrait=0, nested=0, distorted=0, folder_of_frames=folder)
    full = json.loads((raw.scene(0) / "transforms.json").read_bytes())
    assert full["w"] == 64 * int(folder[-1])
    source = DL3DVSource(DL3DVConfig(images=folder), raw.folder)
    clip = source.make(raw.scenes[0])
    np.testing.assert_allclose(clip.intrinsics[0, 0], [full["fl_x"] / int(folder[-1]), 0, 32], rtol=1e-6)
    small = DL3DVSource(DL3DVConfig(images=folder, long_side=32), raw.folder).make(raw.scenes[0])
    assert small.frame_size == small.gt_size == (24, 32)
    np.testing.assert_allclose(small.intrinsics[:, :2], clip.intrinsics[:, :2] / 2, rtol=1e-6)


def test_undistorting_gives_the_pinholes_picture_back(raw: Raw, room: Callable[[int], Clip], load: Load) -> None:
    expected, clip_id = room(DISTORTED), raw.scenes[DISTORTED]
    kept = DL3DVSource(DL3DVConfig(teacher="oracle"), raw.folder).make(clip_id)
    straight = DL3DVSource(DL3DVConfig(teacher="oracle", undistort=True), raw.folder).make(clip_id)
    assert kept.facts["k1"] == straight.facts["k1"] == -0.15 and kept.facts["p1"] == 0.001
    distortion = kept.facts["distortion_px"]
    assert isinstance(distortion, float) and distortion > 2
    assert any("distortion is kept" in warning for warning in kept.warnings)
    assert straight.facts["distortion_px"] == 0 and straight.facts["undistorted"]
    assert not any("distortion" in warning for warning in straight.warnings)

    def difference(clip: Clip) -> float:
        """Of pictures averaged over 4 x 4 pixels, for which being interpolated twice makes no difference."""
        pairs = zip(clip.frames, expected.frames, strict=True)
        return float(np.mean([np.abs(coarse(a) - coarse(b))[1:-1, 1:-1].mean() for a, b in pairs]))

    zoom = straight.intrinsics[0, 0, 0] / expected.intrinsics[0, 0, 0]
    assert zoom == pytest.approx(1, abs=1e-6)  # a barrel needs no zoom
    assert difference(straight) < 0.6 * difference(kept)
    assert straight.depth is not None and kept.depth is not None and expected.depth is not None
    truth = expected.depth[[p in QUERY for p in expected.gt_frames]]
    assert np.abs(straight.depth - truth).max() <= 0.001
    inner = (slice(None), slice(8, -8), slice(8, -8))  # kept depth is moved by a pixel or two, and lacks the border
    assert np.median(np.abs(kept.depth - truth)[inner]) < 0.02 and (np.abs(kept.depth - truth)[inner] > 0.02).any()


def test_a_fisheye_is_undistorted_too(emit: Callable[..., Raw]) -> None:
    raw = emit(clips=1, portrait=0, nested=0, distorted=0, fisheye=1, frames=12)
    clip = DL3DVSource(DL3DVConfig(teacher="oracle", undistort=True, min_frames=5), raw.folder).make(raw.scenes[0])
    source = RoomsSource(raw.options.rendered())
    truth = source.make(source.clip_ids()[0])
    zoom = clip.intrinsics[0, 0, 0] / truth.intrinsics[0, 0, 0]
    assert 1 <= zoom < 1.3 and clip.depth is not None and truth.depth is not None
    # The same ray through the middle column, a quarter of the way down: rows stretch by the zoom about the middle.
    row = 24 + (12 - 24 + 0.5) / zoom - 0.5
    near = truth.depth[0, [int(np.floor(row)), int(np.ceil(row))], 32]
    assert near.min() - 0.01 <= clip.depth[0, 12, 32] <= near.max() + 0.01
    assert (clip.depth > 0).all()


def test_implausible_stored_depth_is_warned_of(raw: Raw, tmp_path: Path, load: Load) -> None:
    folder = tmp_path / "raw" / raw.options.batch / raw.scenes[PLAIN]
    shutil.copytree(raw.scene(PLAIN), folder)
    path = folder / "oracle" / "depth" / "frame_00010.png"
    path.write_bytes(encode_png(np.asarray(Image.open(path)).astype(np.uint16).byteswap()))
    assert "(values look byte-swapped): frames 10" in load(tmp_path / "raw", teacher="oracle").clips["warnings"].iloc[0]
