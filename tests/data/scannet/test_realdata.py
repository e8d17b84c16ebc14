"""A real-format RGB-D room: imported unchanged from its exported folder and from a short `.sens`."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.dataset.clip_files import round_depth
from data.look.reprojection import reproject
from data.raw.depth import doubtful_depth
from data.scannet.config import ScannetConfig
from data.scannet.source import ScannetSource

pytestmark = pytest.mark.realdata
NAME = "scene9001_00"
EVERY = 35
"""The recording holds every 35th frame of the exported folder."""


@pytest.fixture
def room(realdata: Path) -> Path:
    return realdata / "icl_livingroom1"


def test_exported_folder(room: Path) -> None:
    source = ScannetSource(ScannetConfig(labels="names"), room)
    assert source.clip_ids() == [NAME]
    clip = source.make(NAME)
    folder = room / "scans" / NAME / "exported"
    assert clip.frame_size == clip.gt_size == (480, 640) and clip.facts["n_scan_frames"] == 211
    assert (clip.frame_src[0], clip.frame_src[-1]) == (52, 157) and not clip.frame_dup.any()
    assert clip.pose_valid.all() and not clip.warnings and clip.facts["id_check_ok"]
    for position, number in enumerate(clip.frame_src):
        assert clip.frames[position] == (folder / f"color/{number}.jpg").read_bytes()
        np.testing.assert_allclose(clip.cam2world[position], np.loadtxt(folder / f"pose/{number}.txt"), atol=1e-6)
    assert clip.depth is not None and clip.instance is not None and clip.class_pixels is not None
    assert not any(doubtful_depth(clip.depth, step=clip.depth_step, metres=True))
    swapped = np.rint(clip.depth * 1000).astype(np.uint16).byteswap().astype(np.float32) / np.float32(1000)
    assert set(doubtful_depth(swapped, step=clip.depth_step, metres=True)) == {"values look byte-swapped"}
    for place, position in enumerate(clip.gt_frames):
        with Image.open(folder / f"depth/{clip.frame_src[position]}.png") as image:
            np.testing.assert_allclose(clip.depth[place], np.asarray(image) / 1000, atol=1e-6)
    np.testing.assert_array_equal(clip.intrinsics[0], np.loadtxt(folder / "intrinsic/intrinsic_color.txt")[:3, :3])
    words = {item.raw_label: (item.class_index, item.is_thing) for item in clip.instances}
    assert words["floor"] == (1, False) and words["curtain"] == (13, True) and words["vase"] == (-1, False)
    floor = next(item.id for item in clip.instances if item.raw_label == "floor")
    assert (clip.instance == floor).sum() == clip.class_pixels[clip.gt_frames, 1].sum() > 0


def test_labels_survive_reprojection(room: Path) -> None:
    clip = ScannetSource(ScannetConfig(labels="names"), room).make(NAME)
    assert clip.depth is not None and clip.instance is not None
    depth = round_depth(clip.depth)
    agreed, moved = [], []
    for i, j in [(0, 1), (3, 6), (5, 10), (8, 4), (12, 19), (19, 10)]:
        p, q = clip.gt_frames[i], clip.gt_frames[j]
        found = reproject(
            depth[i], depth[j], (clip.intrinsics[p], clip.intrinsics[q]), (clip.cam2world[p], clip.cam2world[q]),
            (clip.instance[i], clip.instance[j]), tolerance=0.02,
        )  # fmt: skip
        assert found.covisible > 10_000
        agreed.append(found.instance)
        moved.append(found.depth)
    assert min(agreed) > 0.99 and min(moved) > 0.95, (agreed, moved)


def test_recording(room: Path, tmp_path: Path) -> None:
    """The six frames of the `.sens` are those of the folder."""
    scan = tmp_path / NAME
    scan.mkdir()
    shutil.copy(room / f"{NAME}_6frames.sens", scan / f"{NAME}.sens")
    options = {"labels": "names", "annotations": "none", "dense": "all"}
    clip = ScannetSource(ScannetConfig(min_frames=6, **options), scan).make(NAME)  # type: ignore[arg-type]
    folder = room / "scans" / NAME / "exported"
    assert clip.frame_dup.sum() == 75 and clip.facts["source"] == "sens" and clip.depth is not None
    for position in np.flatnonzero(~clip.frame_dup).tolist():
        number = int(clip.frame_src[position]) * EVERY
        assert clip.frames[position] == (folder / f"color/{number}.jpg").read_bytes()
        with Image.open(folder / f"depth/{number}.png") as image:
            np.testing.assert_allclose(clip.depth[position], np.asarray(image) / 1000, atol=1e-6)
        np.testing.assert_allclose(clip.cam2world[position], np.loadtxt(folder / f"pose/{number}.txt"), atol=1e-6)
