"""`transforms.json`: axes, the applied world, what is refused and how the message leads to the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import DatasetError
from data.dl3dv.transforms import read_transforms

WHERE = Path("/raw/1K/abc/transforms.json")
TURN = np.array([[0.0, -1.0, 0.0, 1.0], [0.0, 0.0, -1.0, 2.0], [1.0, 0.0, 0.0, 3.0], [0.0, 0.0, 0.0, 1.0]])
APPLIED = [[1.0, 0.0, 0.0, 0.5], [0.0, 0.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]]


def content(**changes: Any) -> dict[str, Any]:
    frames = [
        {"file_path": f"images/frame_{n:05d}.png", "transform_matrix": TURN.tolist(), "colmap_im_id": n} for n in (2, 1)
    ]
    base = {"camera_model": "OPENCV", "w": 3840, "h": 2160, "fl_x": 1700.0, "fl_y": 1710.0, "cx": 1920, "cy": 1080.0}
    return {**base, "k1": 0.03, "k2": -0.01, "p1": 1e-3, "p2": -2e-4, "frames": frames, **changes}


def read(value: Any) -> Any:
    return read_transforms(json.dumps(value).encode(), WHERE)


def test_opengl_becomes_opencv() -> None:
    pose = read(content()).poses["frame_00001"]
    assert np.array_equal(pose[:3, 0], TURN[:3, 0])  # x stays, y and z turn about, the place stays
    assert np.array_equal(pose[:3, 1:3], -TURN[:3, 1:3]) and np.array_equal(pose[:, 3], TURN[:, 3])


def test_the_applied_world_is_undone() -> None:
    plain = read(content()).poses["frame_00002"]
    full = np.vstack([APPLIED, [0, 0, 0, 1]])
    moved = content(applied_transform=APPLIED)
    for frame in moved["frames"]:
        frame["transform_matrix"] = (full @ TURN).tolist()
    np.testing.assert_allclose(read(moved).poses["frame_00002"], plain, atol=1e-12)
    moved["applied_transform"] = full.tolist()
    np.testing.assert_allclose(read(moved).poses["frame_00002"], plain, atol=1e-12)
    for frame in moved["frames"]:
        frame["transform_matrix"] = (np.diag([2, 2, 2, 1]) @ full @ TURN @ np.diag([0.5, 0.5, 0.5, 1])).tolist()
    np.testing.assert_allclose(read({**moved, "applied_scale": 2.0}).poses["frame_00002"], plain, atol=1e-12)


def test_the_lens_is_at_full_size() -> None:
    lens = read(content()).lens
    assert (lens.width, lens.height, lens.fx, lens.fy, lens.cx, lens.cy) == (3840, 2160, 1700, 1710, 1920, 1080)
    assert lens.radial == (0.03, -0.01, 0, 0) and lens.tangential == (1e-3, -2e-4) and not lens.fisheye
    fisheye = read(content(camera_model="OPENCV_FISHEYE", k3=0.5, p1=0, p2=0)).lens
    assert fisheye.fisheye and fisheye.radial == (0.03, -0.01, 0.5, 0)


CAMERA = ("camera_model", "w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2")


def test_a_camera_that_all_frames_repeat_is_the_scenes() -> None:
    whole = content()
    camera = {key: whole.pop(key) for key in CAMERA}
    for entry in whole["frames"]:
        entry.update(camera)
    assert read(whole).lens == read(content()).lens
    assert read({**whole, "fl_x": 1700.0}).lens == read(content()).lens
    del whole["frames"][1]["fl_y"]
    with pytest.raises(DatasetError, match=r"frames\[1\] has its own camera") as caught:
        read(whole)
    assert "fl_y" in str(caught.value) and "kind=video" in str(caught.value)


def test_angles_of_view() -> None:
    """Rendered scenes give the angle along the width, and neither size nor focal lengths."""
    angle = 2 * np.arctan(0.5 * 800 / 1000)
    bare = {"camera_angle_x": angle, "frames": content()["frames"]}
    cameras = read(bare)
    lens = cameras.lens_at(600, 800)
    assert cameras.lens is None and not lens.distorted
    np.testing.assert_allclose([lens.fx, lens.fy, lens.cx, lens.cy], [1000, 1000, 400, 300])
    assert read({**bare, "w": 1600, "h": 1200}).lens.resized(800, 600) == lens
    tall = read({**bare, "camera_angle_y": 2 * np.arctan(0.5 * 600 / 900)}).lens_at(600, 800)
    np.testing.assert_allclose([tall.fx, tall.fy], [1000, 900])
    assert read({**content(), "camera_angle_x": 0.1}).lens == read(content()).lens  # focal lengths count


def frame(**changes: Any) -> dict[str, Any]:
    good = content()["frames"]
    return content(frames=[good[0], {**good[1], **changes}])


def scaled(by: list[float]) -> list[list[float]]:
    rows: list[list[float]] = (TURN @ np.diag(by)).tolist()
    return rows


REFUSED = {
    "fl_x is not a number": content(fl_x="1700"),
    "fl_y is not a number": {key: value for key, value in content().items() if key != "fl_y"},
    "fl_x and fl_y must be above 0": content(fl_x=-1700.0),
    "the principal point lies outside": content(cx=9000.0),
    "w and h are not the size": content(w=3840.5),
    "k1 is not a number": content(k1=None),
    "unknown camera_model": content(camera_model="OPENCV5"),
    "camera_model PINHOLE has no k1": content(camera_model="PINHOLE"),
    "frames is not a list": content(frames={"0": {}}),
    "frames is not a list of frames": content(frames=[]),
    r"frames\[1\] is not an object": content(frames=[content()["frames"][0], 7]),
    r"frames\[1\] has its own camera": frame(fl_x=3.0),
    "camera_angle_x is not an angle": {"camera_angle_x": 4.0, "frames": content()["frames"]},
    "camera_angle_x is not finite": {"camera_angle_x": 10**400, "frames": content()["frames"]},
    "h is not a number": {"camera_angle_x": 0.4, "w": 800, "frames": content()["frames"]},
    "k1 needs focal lengths": {"camera_angle_x": 0.4, "k1": 0.1, "frames": content()["frames"]},
    r"frames\[1\].file_path is listed twice": frame(file_path="images_2/frame_00002.jpg"),
    r"frames\[1\].file_path is not the path": frame(file_path=None),
    "leads out of its folder": frame(file_path="images/../../frame_00001.png"),
    "a name that leads out of its folder": frame(file_path="/etc/passwd"),
    "a name that leads out of its folder, or": frame(file_path="C:\\frame_00001.png"),
    r"frames\[1\].transform_matrix is not a matrix": frame(transform_matrix=TURN[:3].tolist()),
    r"frames\[1\].transform_matrix\[0\]\[1\] is not a number": frame(
        transform_matrix=[[0, "-1", 0, 1], *TURN[1:].tolist()]
    ),
    "the rotation is mirrored": frame(transform_matrix=scaled([1, 1, -1, 1])),
    "the rotation is scaled by 1.01": frame(transform_matrix=scaled([1.01, 1.01, 1.01, 1])),
    "the rotation is sheared": frame(transform_matrix=scaled([1, 1.2, 1, 1])),
    "the last row is not 0 0 0 1": frame(transform_matrix=[*TURN[:3].tolist(), [0, 0, 1, 1]]),
    "applied_transform is not a rigid motion": content(applied_transform=[[2, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]),
    "applied_transform is not a matrix": content(applied_transform=[[1, 0], [0, 1]]),
    "applied_scale must be above 0": content(applied_scale=0),
    "NaN is not a valid JSON number": content(cx=float("nan")),
    "Infinity is not a valid JSON number": frame(transform_matrix=scaled([1, 1, 1, float("inf")])),
    "not a scene's cameras": [content()],
}


@pytest.mark.parametrize("problem", REFUSED)
def test_refused_with_the_path_and_the_place(problem: str) -> None:
    with pytest.raises(DatasetError, match=problem) as caught:
        read(REFUSED[problem])
    assert str(WHERE) in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b'{"w": 1, "w": 2}', b"[" * 100_000, b'{"w": 1e999}'])
def test_what_is_no_json_is_refused(text: bytes) -> None:
    with pytest.raises(DatasetError, match=r"(?s).*/raw/1K/abc/transforms\.json"):
        read_transforms(text, WHERE)
