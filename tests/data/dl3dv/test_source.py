"""Clips of raw scenes: windows, videos, teachers without depth, splits, and runs that are killed."""

from __future__ import annotations

import functools
import json
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import DatasetError, MissingError, StaleError
from configs.files import file_digests
from data.dataset.reader import PreparedDataset
from data.dataset.splits import hash_split
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.scenes import paper_start
from data.dl3dv.source import DL3DVSource
from data.prepare.prepare import prepare
from tests.data.dl3dv.conftest import PLANS, Raw

SCRIPT = """
import sys, time
from pathlib import Path
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import DL3DVSource
from data.prepare.prepare import prepare

class Slow(DL3DVSource):
    def make(self, clip_id):
        time.sleep(0.2)
        return super().make(clip_id)

prepare(Slow(DL3DVConfig(teacher="oracle"), Path(sys.argv[1])), Path(sys.argv[2]), plans=["uniform-4"], workers=1)
"""


def source_of(raw: Raw, **options: object) -> DL3DVSource:
    return DL3DVSource(DL3DVConfig(**options), raw.folder)  # type: ignore[arg-type]


def test_a_killed_import_ends_in_the_same_bytes(raw: Raw, tmp_path: Path) -> None:
    path, whole = tmp_path / "d", tmp_path / "whole"
    prepare(source_of(raw, teacher="oracle"), whole, plans=PLANS, workers=1)
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(raw.folder), str(path)])
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if (path / "clips").is_dir() and any(p.name in raw.scenes for p in (path / "clips").iterdir()):
            break
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL  # killed at work, not at its end
    with pytest.raises(MissingError):
        PreparedDataset(path)
    summary = prepare(source_of(raw, teacher="oracle"), path, plans=PLANS, workers=1)
    assert summary.kept >= 1 and summary.made >= 1 and file_digests(path) == file_digests(whole)


def test_other_options_are_refused_on_the_same_name(raw: Raw, tmp_path: Path) -> None:
    chosen = {"scenes": raw.scenes[:1]}
    prepare(source_of(raw, **chosen), tmp_path / "d", plans=PLANS, workers=1)
    with pytest.raises(StaleError, match=r"parameters\.undistort: False -> True"):
        prepare(source_of(raw, undistort=True, **chosen), tmp_path / "d", plans=PLANS, workers=1)
    with pytest.raises(StaleError, match=r"parameters\.teacher: 'colmap' -> 'none'"):
        prepare(source_of(raw, teacher="none", **chosen), tmp_path / "d", plans=PLANS, workers=1)
    summary = prepare(source_of(raw, scenes=raw.scenes[:2]), tmp_path / "d", plans=PLANS, workers=1)
    assert (summary.made, summary.kept) == (1, 1)  # more scenes later are no other dataset


def test_windows_of_a_scene(raw: Raw) -> None:
    name = raw.scenes[0]
    paper = source_of(raw, window=12, min_frames=10).make(name)
    start = paper_start(name, 20, 12)
    assert paper.frame_src.tolist() == list(range(start + 1, start + 13)) and paper.facts["window_start"] == start
    first = source_of(raw, window=12, min_frames=10, clips="first").make(name)
    assert first.frame_src.tolist() == list(range(1, 13))
    several = source_of(raw, window=6, min_frames=5, clips="all", scenes=[name])
    assert several.clip_ids() == [f"{name}-{k}" for k in range(3)]
    clips = [several.make(clip_id) for clip_id in several.clip_ids()]
    assert [int(clip.frame_src[0]) for clip in clips] == [1, 7, 13] and {clip.group_id for clip in clips} == {name}
    dense = source_of(raw, window=12, min_frames=10, teacher="oracle").make(name)
    assert dense.gt_frames.tolist() == [0, 1, 5, 9] and dense.depth is not None and len(dense.depth) == 4
    with pytest.raises(MissingError, match="no clip"):
        several.make(name)


def test_splits_go_by_the_scenes_hash(raw: Raw, tmp_path: Path) -> None:
    prepare(source_of(raw), tmp_path / "d", plans=PLANS, workers=1)
    clips = PreparedDataset(tmp_path / "d").clips
    assert {name: clips.at[name, "split"] for name in raw.scenes} == {name: hash_split(name) for name in raw.scenes}


def test_poses_need_a_registered_frame(raw: Raw, tmp_path: Path) -> None:
    scene = tmp_path / "raw" / raw.scenes[0]
    shutil.copytree(raw.scene(0), scene)
    content = json.loads((scene / "transforms.json").read_bytes())
    content["frames"] = [frame for frame in content["frames"] if frame["file_path"] > "images/frame_00010.png"]
    (scene / "transforms.json").write_text(json.dumps(content))
    window = {"clips": "first", "window": 8, "min_frames": 5}
    with pytest.raises(DatasetError, match=r"(?s)no frame of this clip is in transforms\.json.*teacher=none"):
        DL3DVSource(DL3DVConfig(**window), scene).make(raw.scenes[0])  # type: ignore[arg-type]
    clip = DL3DVSource(DL3DVConfig(teacher="oracle", **window), scene).make(raw.scenes[0])  # type: ignore[arg-type]
    assert clip.pose_valid.all() and clip.facts["teacher_rot_err_deg"] is None and clip.facts["teacher_frames"] == 0


def test_repeated_frames_are_flagged(raw: Raw, tmp_path: Path) -> None:
    scene = tmp_path / "raw" / raw.scenes[0]
    shutil.copytree(raw.scene(0), scene)
    frames = sorted((scene / "images_4").iterdir())
    shutil.copy(frames[3], frames[4])
    clip = DL3DVSource(DL3DVConfig(), scene).make(raw.scenes[0])
    assert np.flatnonzero(clip.frame_dup).tolist() == [4] and "1 frames repeat earlier ones" in clip.warnings


def test_angles_of_view_in_place_of_focal_lengths(raw: Raw, tmp_path: Path) -> None:
    """As rendered scenes have it; the emitted lens looks straight ahead with square pixels, so nothing is lost."""
    copy = tmp_path / "raw" / raw.scenes[0]
    shutil.copytree(raw.scene(0), copy)
    expected = DL3DVSource(DL3DVConfig(), copy.parent).make(copy.name)
    content = json.loads((copy / "transforms.json").read_bytes())
    angle = 2 * math.atan(0.5 * content["w"] / content["fl_x"])
    for key in ("camera_model", "w", "h", "fl_x", "fl_y", "cx", "cy", "k1", "k2", "p1", "p2"):
        content.pop(key, None)
    (copy / "transforms.json").write_text(json.dumps({**content, "camera_angle_x": angle}))
    found = DL3DVSource(DL3DVConfig(), copy.parent).make(copy.name)
    np.testing.assert_allclose(found.intrinsics, expected.intrinsics, rtol=1e-6)
    np.testing.assert_array_equal(found.cam2world, expected.cam2world)


def test_jpegs_keep_their_bytes(raw: Raw, tmp_path: Path) -> None:
    scene = tmp_path / "raw" / raw.scenes[0]
    shutil.copytree(raw.scene(0), scene)
    for file in sorted((scene / "images_4").iterdir()):
        with Image.open(file) as image:
            image.save(file.with_suffix(".jpg"), quality=70)
        file.unlink()
    clip = DL3DVSource(DL3DVConfig(), scene).make(raw.scenes[0])  # the json still says .png
    assert list(clip.frames) == [file.read_bytes() for file in sorted((scene / "images_4").iterdir())]
    assert clip.pose_valid.sum() >= 10


@pytest.fixture
def filmed(raw: Raw, tmp_path: Path) -> Callable[[int], Path]:
    """The first scene as a video in which each picture is shown for some frames."""
    import av

    def write(repeat: int) -> Path:
        scene = tmp_path / f"raw{repeat}" / "1K" / raw.scenes[0]
        scene.mkdir(parents=True)
        shutil.copy(raw.scene(0) / "transforms.json", scene)
        with av.open(str(scene / "video.mp4"), "w") as container:
            stream = container.add_stream("mpeg4", rate=30)
            stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 4_000_000
            for file in sorted((raw.scene(0) / "images_4").iterdir()):
                for _ in range(repeat):
                    container.mux(stream.encode(av.VideoFrame.from_image(Image.open(file).convert("RGB"))))
            container.mux(stream.encode(None))
        return scene.parents[1]

    return write


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_video_in_place_of_images(raw: Raw, filmed: Callable[[int], Path], repeat: int) -> None:
    name = raw.scenes[0]
    folder = filmed(repeat)
    options = {"images": "video", "video_poses": True, "video_step": repeat}
    clip = DL3DVSource(DL3DVConfig(**options), folder).make(name)  # type: ignore[arg-type]
    expected = source_of(raw).make(name)
    assert clip.frame_src.tolist() == list(range(0, 20 * repeat, repeat)) and clip.facts["images"] == "video"
    assert np.array_equal(clip.pose_valid, expected.pose_valid)
    assert np.array_equal(clip.cam2world, expected.cam2world, equal_nan=True)
    assert np.array_equal(clip.intrinsics, expected.intrinsics)
    loose = DL3DVSource(DL3DVConfig(images="video", teacher="none"), folder).make(name)
    assert (
        not loose.pose_valid.any() and len(loose.frames) == 20 * repeat and loose.facts["n_unregistered"] == 20 * repeat
    )


def test_a_video_that_is_cut_off(raw: Raw, filmed: Callable[[int], Path]) -> None:
    folder = filmed(1)
    video = folder / "1K" / raw.scenes[0] / "video.mp4"
    whole = video.read_bytes()
    source = DL3DVSource(DL3DVConfig(images="video", teacher="none"), folder)
    for size in (0, 100, len(whole) // 2):
        video.write_bytes(whole[:size])
        with pytest.raises(DatasetError, match=r"(?s)video\.mp4"):
            source.make(raw.scenes[0])
    with pytest.raises(DatasetError, match=r"(?s)no folder images_4 or .*found:.*no frames"):
        DL3DVSource(DL3DVConfig(), folder).make(raw.scenes[0])
    video.unlink()
    with pytest.raises(DatasetError, match="no video"):
        source.make(raw.scenes[0])


def test_changed_raw_data_is_not_mixed_with_old_clips(emit: Callable[..., Raw], tmp_path: Path) -> None:
    raw = emit(clips=2)
    again = functools.partial(DL3DVSource, DL3DVConfig(teacher="oracle"), raw.folder)
    prepare(again(), tmp_path / "d", workers=1)
    cameras = raw.scene(0) / "transforms.json"
    before = cameras.read_bytes()
    value = json.loads(before)
    value["fl_x"] += 1
    cameras.write_text(json.dumps(value))
    with pytest.raises(StaleError, match=raw.scenes[0]):
        prepare(again(), tmp_path / "d", workers=1)
    cameras.write_bytes(before)
    assert prepare(again(), tmp_path / "d", workers=1).kept == 2
    frame = next((raw.scene(1) / raw.options.folder_of_frames).iterdir())
    frame.write_bytes(frame.read_bytes() + b"more")
    with pytest.raises(StaleError, match=raw.scenes[1]):
        prepare(again(), tmp_path / "d", workers=1)
