"""One real room in two raw formats: both importers must put every pixel at the same place in the world."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.dataset.reader import PreparedDataset
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.scenes import paper_start
from data.dl3dv.source import DL3DVSource
from data.look.reprojection import reproject
from data.prepare.prepare import prepare
from data.scannet.config import ScannetConfig
from data.scannet.source import ScannetSource

pytestmark = pytest.mark.realdata
SCAN = "scene9001_00"
SCENE = hashlib.sha256(SCAN.encode()).hexdigest()
MILLIMETRE = 1e-3
PLANS = ("paper-4",)


@pytest.fixture(scope="module")
def module_tmp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("same-room")


@pytest.fixture
def exported(realdata: Path) -> Path:
    return realdata / "icl_livingroom1" / "scans" / SCAN / "exported"


@pytest.fixture
def dl3dv_raw(realdata: Path, exported: Path, module_tmp: Path) -> Path:
    """The room laid out as DL3DV distributes scenes: nothing is converted, files are only copied and named."""
    raw = module_tmp / "DL3DV-ALL"
    scene = raw / "1K" / SCENE
    if not scene.exists():
        (scene / "images_4").mkdir(parents=True)
        shutil.copy(realdata / "icl_livingroom1" / "transforms_dl3dv_convention.json", scene / "transforms.json")
        for picture in (exported / "color").iterdir():
            shutil.copy(picture, scene / "images_4" / f"frame_{int(picture.stem) + 1:05d}.jpg")
    return raw


@pytest.fixture
def as_scannet(realdata: Path, module_tmp: Path) -> PreparedDataset:
    path = module_tmp / "datasets" / "scannet"
    source = ScannetSource(ScannetConfig(labels="names"), realdata / "icl_livingroom1")
    prepare(source, path, plans=PLANS, workers=1)
    return PreparedDataset(path)


@pytest.fixture
def as_dl3dv(dl3dv_raw: Path, module_tmp: Path) -> PreparedDataset:
    path = module_tmp / "datasets" / "dl3dv"
    prepare(DL3DVSource(DL3DVConfig(), dl3dv_raw), path, plans=PLANS, workers=1)
    return PreparedDataset(path)


def points(depth: NDArray[np.float32], matrix: NDArray[np.float32], pose: NDArray[np.float32]) -> NDArray[np.float64]:
    """World points (n, 3) of the pixels with depth, written out independently of the project's own geometry."""
    rows, columns = np.nonzero(depth)
    z = depth[rows, columns].astype(np.float64)
    x = (columns + 0.5 - matrix[0, 2]) / matrix[0, 0] * z
    y = (rows + 0.5 - matrix[1, 2]) / matrix[1, 1] * z
    return np.stack([x, y, z], axis=1) @ pose[:3, :3].astype(np.float64).T + pose[:3, 3]


def test_frames_and_cameras_arrive_unchanged(as_dl3dv: PreparedDataset, exported: Path) -> None:
    row = as_dl3dv.clips.loc[SCENE]
    start = paper_start(SCENE, 211, 150)
    numbers, repeated = as_dl3dv.sources(SCENE)
    assert numbers.tolist() == list(range(start + 1, start + 151)) and not repeated.any()
    assert (row["rgb_h"], row["rgb_w"], row["scene_frames"], row["n_pose_invalid"]) == (480, 640, 211, 0)
    folder = as_dl3dv.path / "clips" / SCENE / "frames"
    cameras = as_dl3dv.cameras(SCENE, range(150))
    for position, number in enumerate(numbers.tolist()):
        assert (folder / f"{position:05d}.jpg").read_bytes() == (exported / f"color/{number - 1}.jpg").read_bytes()
        np.testing.assert_allclose(
            cameras.cam2world[position], np.loadtxt(exported / f"pose/{number - 1}.txt"), atol=1e-6
        )
    np.testing.assert_array_equal(cameras.intrinsics[0], [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]])


def test_both_importers_give_the_same_world_points(as_scannet: PreparedDataset, as_dl3dv: PreparedDataset) -> None:
    one, _ = as_scannet.sources(SCAN)
    other, _ = as_dl3dv.sources(SCENE)
    compared = 0
    for position in as_scannet.query_positions(SCAN):
        frame = int(one[position])
        place = np.flatnonzero(other == frame + 1)
        if not len(place):
            continue
        depth = as_scannet.depth(SCAN, [position])[0]
        near, far = as_scannet.cameras(SCAN, [position]), as_dl3dv.cameras(SCENE, [int(place[0])])
        assert near.valid.all() and far.valid.all()
        a = points(depth, near.intrinsics[0], near.cam2world[0])
        b = points(depth, far.intrinsics[0], far.cam2world[0])
        distance = np.linalg.norm(a - b, axis=1)
        assert len(distance) > 100_000 and np.median(distance) < MILLIMETRE and distance.max() < 5 * MILLIMETRE
        compared += 1
    assert compared >= 15


def test_depth_beside_the_frames_serves_as_truth(
    as_scannet: PreparedDataset, dl3dv_raw: Path, exported: Path, tmp_path: Path
) -> None:
    """The sensor's depth in the folder of stored truth: the DL3DV importer's own points are ScanNet's too."""
    scene = tmp_path / "raw" / SCENE
    shutil.copytree(dl3dv_raw / "1K" / SCENE, scene)
    (scene / "oracle" / "depth").mkdir(parents=True)
    poses = {f"frame_{n + 1:05d}": np.loadtxt(exported / f"pose/{n}.txt").tolist() for n in range(211)}
    matrix = [[525, 0, 319.5], [0, 525, 239.5], [0, 0, 1]]
    truth = {"width": 640, "height": 480, "matrix": matrix, "cam2world": poses}
    (scene / "oracle" / "cameras.json").write_text(json.dumps(truth))
    for picture in (exported / "depth").iterdir():
        shutil.copy(picture, scene / "oracle" / "depth" / f"frame_{int(picture.stem) + 1:05d}.png")
    clip = DL3DVSource(DL3DVConfig(teacher="oracle"), scene).make(SCENE)
    assert clip.depth is not None and clip.depth_kind == "oracle"
    assert clip.facts["teacher_scale"] == pytest.approx(1, abs=1e-4)
    turned, apart = clip.facts["teacher_rot_err_deg"], clip.facts["teacher_ate"]
    assert isinstance(turned, float) and turned < 1e-3 and isinstance(apart, float) and apart < MILLIMETRE
    own = {int(clip.frame_src[p]) - 1: (row, int(p)) for row, p in enumerate(clip.gt_frames)}
    one, _ = as_scannet.sources(SCAN)
    common = [p for p in as_scannet.query_positions(SCAN) if int(one[p]) in own]
    assert common
    for position in common:
        row, place = own[int(one[position])]
        with Image.open(exported / f"depth/{int(one[position])}.png") as image:
            np.testing.assert_allclose(clip.depth[row], np.asarray(image) / 1000, atol=1e-6)
        camera = as_scannet.cameras(SCAN, [position])
        a = points(as_scannet.depth(SCAN, [position])[0], camera.intrinsics[0], camera.cam2world[0])
        b = points(clip.depth[row], clip.intrinsics[place], clip.cam2world[place])
        assert len(a) == len(b) and np.median(np.linalg.norm(a - b, axis=1)) < MILLIMETRE
    first, second = 3, 6
    p, q = (int(clip.gt_frames[i]) for i in (first, second))
    found = reproject(
        clip.depth[first], clip.depth[second], (clip.intrinsics[p], clip.intrinsics[q]),
        (clip.cam2world[p], clip.cam2world[q]), tolerance=0.02,
    )  # fmt: skip
    assert found.covisible > 10_000 and found.depth > 0.95
