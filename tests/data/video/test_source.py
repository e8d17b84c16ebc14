"""Own recordings become prepared datasets: exact truth from a manifest, broken ones quarantined, the rest made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from configs.cli import main
from configs.errors import DatasetError, MissingError, StaleError
from data.__main__ import VERBS
from data.dataset.clip import QUERY_POSITIONS, ClipRefused
from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions
from data.look.verify import verify
from data.prepare.prepare import prepare
from data.video.config import VideoConfig
from data.video.source import VideoSource
from tests.data.toy import Shape, toy_clip
from tests.data.video.filming import film, labelled, number_of, numbered, picture_bytes, write_manifest

NAMES = ("a1", "b2", "c3", "d4", "e5")
SHORT = VideoConfig(frames=20)


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five labelled videos of 81 frames; read only."""
    path = tmp_path_factory.mktemp("raw")
    labelled(path, NAMES)
    return path


@pytest.fixture(scope="module")
def dataset(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    path = tmp_path_factory.mktemp("home") / "datasets" / "own"
    prepare(VideoSource(VideoConfig(splits="cycle"), raw, "own"), path, plans=["paper-4"], workers=1)
    return PreparedDataset(path)


def pictures(folder: Path, count: int, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(first, first + count):
        (folder / f"{i}.jpg").write_bytes(picture_bytes(numbered(i), quality=90))
    return folder


def made(source: VideoSource, clip_id: str, path: Path) -> PreparedDataset:
    prepare(source, path, workers=1)
    dataset = PreparedDataset(path)
    assert clip_id in dataset.clips.index
    return dataset


def test_labelled_videos_keep_their_truth(dataset: PreparedDataset) -> None:
    """Depth to the millimetre it was stored in, poses and ids exactly, colours up to video compression."""
    for name in NAMES:
        truth = toy_clip(name, Shape(frame_size=(48, 64), gt_size=(48, 64)))
        clip_id = f"{name}-000"
        assert truth.instance is not None and truth.depth is not None
        np.testing.assert_allclose(dataset.depth(clip_id, QUERY_POSITIONS), truth.depth, rtol=2**-12)
        np.testing.assert_array_equal(dataset.instance_maps(clip_id, QUERY_POSITIONS), truth.instance)
        cameras = dataset.cameras(clip_id, range(81))
        np.testing.assert_array_equal(cameras.cam2world, truth.cam2world)
        np.testing.assert_array_equal(cameras.intrinsics, truth.intrinsics)
        assert cameras.valid.all()
        wanted = np.stack([np.asarray(Image.open(__import__("io").BytesIO(f))) for f in truth.frames[:40:8]])
        assert np.abs(dataset.frames(clip_id, range(0, 40, 8)).astype(int) - wanted).mean() < 8
        table = dataset.instances(clip_id)
        assert table["raw_label"].tolist() == ["wall", "armchair", "ceiling"]
        assert table["class_index"].tolist() == [0, 1, -1] and table["source_id"].tolist() == [10, 20, 30]
        assert table["is_thing"].tolist() == [False, True, False]
    assert dataset.class_names == ("wall", "chair") and dataset.identity["units"] == "metres"
    assert verify(dataset, workers=1) == 0
    assert [len(dataset.split(s)) for s in ("train", "select", "report")] == [3, 1, 1]


@pytest.mark.parametrize("target", ["labels", "instances", "geometry"])
def test_labelled_videos_train_every_task(dataset: PreparedDataset, target: str) -> None:
    samples = ClipSamples(dataset, dataset.split("train"), SampleOptions(target=target), n_queries=4)
    sample = samples[0]
    if target == "labels":
        assert sample["labels"].sum() == 2
    elif target == "instances":
        assert sample["valid"].all()
    else:
        assert sample["usable"]


def test_inspect_says_what_can_be_probed(
    dataset: PreparedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = f"root={dataset.path.parents[1]}"
    assert main("data", "about", VERBS, ["inspect", "dataset=own", root]) == 0
    shown = capsys.readouterr().out
    assert all(
        f"{target.ljust(9)}      3       1       1  yes" in shown for target in ("labels", "instances", "geometry")
    )
    film(tmp_path / "plain.mp4", 20)
    words = ["prepare", "kind=video", f"raw={tmp_path / 'plain.mp4'}", f"root={tmp_path}", "frames=20", "workers=1",
             "plans=paper-2"]  # fmt: skip
    assert main("data", "about", VERBS, words) == 0
    capsys.readouterr()
    assert main("data", "about", VERBS, ["inspect", "dataset=plain", f"root={tmp_path}"]) == 0
    shown = capsys.readouterr().out
    assert "no: needs masks with classes" in shown and "no: needs depth, poses and intrinsics" in shown


def test_long_videos_make_several_clips(tmp_path: Path) -> None:
    film(tmp_path / "a.mp4", 70)
    dataset = made(VideoSource(VideoConfig(frames=20, stride=24), tmp_path / "a.mp4"), "a-002", tmp_path / "d")
    assert dataset.clips["clip_id"].tolist() == ["a-000", "a-001", "a-002"]
    sources, duplicate = dataset.sources("a-002")
    assert sources.tolist() == list(range(48, 68)) and not duplicate.any()
    assert [number_of(frame) for frame in dataset.frames("a-001", [0, 7, 19])] == [24, 31, 43]
    row = dataset.clips.loc["a-001"]
    assert (
        row["group_id"] == "a"
        and row["start_s"] == pytest.approx(24 / 25)
        and row["duration_s"] == pytest.approx(19 / 25)
    )
    assert not row["has_depth"] and not row["has_instance"] and row["pose_kind"] == "none"
    assert np.isnan(dataset.cameras("a-000", [0]).intrinsics).all()


def test_pictures_come_in_natural_order_and_keep_their_bytes(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "shots", 20, first=95)
    dataset = made(VideoSource(SHORT, folder), "shots-000", tmp_path / "d")
    assert [number_of(frame) for frame in dataset.frames("shots-000", range(20))] == list(range(95, 115))
    assert dataset.frame_bytes("shots-000", 0) == (folder / "95.jpg").read_bytes()


def test_large_frames_are_reduced(tmp_path: Path) -> None:
    folder = tmp_path / "big"
    folder.mkdir()
    for i in range(20):
        (folder / f"{i}.png").write_bytes(picture_bytes(numbered(i, (100, 160)), "PNG"))
    dataset = made(VideoSource(VideoConfig(frames=20, max_side=64), folder), "big-000", tmp_path / "d")
    assert dataset.frame_size("big-000") == (40, 64)
    assert [number_of(f) for f in dataset.frames("big-000", [3, 19])] == [3, 19]


def test_rotated_photographs_are_turned(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    folder = tmp_path / "turned"
    folder.mkdir()
    for i in range(20):
        content = picture_bytes(np.ascontiguousarray(np.rot90(numbered(i))), exif=exif, quality=95)
        (folder / f"{i}.jpg").write_bytes(content)
    dataset = made(VideoSource(SHORT, folder), "turned-000", tmp_path / "d")
    assert dataset.frame_size("turned-000") == (48, 64)
    assert [number_of(f) for f in dataset.frames("turned-000", [2, 17])] == [2, 17]


def test_broken_recordings_do_not_stop_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One good video among an empty one, a cut one, a short one, a damaged picture and one of another size."""
    raw = tmp_path / "raw"
    raw.mkdir()
    good = film(raw / "good.mp4", 45)
    (raw / "empty.mp4").write_bytes(b"")
    (raw / "cut.mp4").write_bytes(good.read_bytes()[:3000])
    film(raw / "short.mp4", 15)
    content = film(tmp_path / "whole.mp4", 70, options={"movflags": "+faststart"}).read_bytes()
    (raw / "lost.mp4").write_bytes(content[: content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2])
    damaged = pictures(raw / "damaged", 40)
    whole = (damaged / "30.jpg").read_bytes()
    (damaged / "30.jpg").write_bytes(whole[:-200])
    odd = pictures(raw / "odd", 20)
    (odd / "7.jpg").write_bytes(picture_bytes(numbered(7)[:47]))
    words = ["prepare", "kind=video", f"raw={raw}", f"root={tmp_path}", "dataset=mixed", "frames=20", "workers=1",
             "plans=paper-2"]  # fmt: skip
    assert main("data", "about", VERBS, words) == 1
    assert "5 of 10 clips could not be made" in capsys.readouterr().err
    status = pd.read_parquet(tmp_path / "datasets/mixed/status.parquet").set_index("clip")
    assert dict(status["status"]) == {
        "good-000": "made", "good-001": "made", "empty-000": "failed", "cut-000": "failed", "short-000": "refused",
        "lost-000": "made", "lost-lost": "failed", "damaged-000": "made", "damaged-001": "failed", "odd-000": "failed",
    }  # fmt: skip
    for clip, reason in {
        "empty-000": "empty.mp4", "cut-000": "cut off", "short-000": "at least 20", "damaged-001": "30.jpg",
        "lost-lost": "of 70 frames are there", "odd-000": "64x47",
    }.items():  # fmt: skip
        assert reason in status["reason"][clip], clip
        assert reason in (tmp_path / f"datasets/mixed/quarantine/{clip}.json").read_text()
    assert (status["bytes"][status["status"] == "made"] > 0).all()
    assert main("data", "about", VERBS, [*words, "allowed_failures=5"]) == 0
    shown = capsys.readouterr().out
    assert "0 clips made, 4 already there, 5 failed, 1 refused" in shown and "short-000" in shown
    assert len(PreparedDataset(tmp_path / "datasets/mixed").clips) == 4
    (odd / "7.jpg").write_bytes(picture_bytes(numbered(7)))
    assert main("data", "about", VERBS, [*words, "allowed_failures=4"]) == 0
    assert "1 clips made, 4 already there, 4 failed" in capsys.readouterr().out
    assert not (tmp_path / "datasets/mixed/quarantine/odd-000.json").exists()


Change = Callable[[Path], object]
"""Spoils a folder of recordings."""


def _poses(change: Callable[[list[dict[str, Any]]], object]) -> Change:
    def apply(folder: Path) -> None:
        path = folder / "a1_poses.json"
        poses = json.loads(path.read_text())
        change(poses)
        path.write_text(json.dumps(poses))

    return apply


def _scale(poses: list[dict[str, Any]]) -> None:
    for row in poses[5]["cam2world"][:3]:
        row[:3] = [2 * value for value in row[:3]]


def _mirror(poses: list[dict[str, Any]]) -> None:
    poses[5]["cam2world"][0][0] = -1


def _write(name: str, pixels: np.ndarray, form: str = "PNG") -> Change:
    return lambda folder: (folder / name).write_bytes(picture_bytes(pixels, form))


@pytest.mark.parametrize(
    ("change", "invalid", "warning"),
    [
        (_poses(lambda poses: poses.__delitem__(slice(4, 7))), [4, 5, 6], "3 of 20 frames have no pose"),
        (_poses(_scale), [5], "1 invalid poses (the rotation is scaled by 2): frames 5"),
        (_poses(_mirror), [5], "1 invalid poses (the rotation is mirrored): frames 5"),
        (lambda folder: (folder / "a1_depth/9.png").unlink(), [], "1 of 6 query frames have no depth map"),
        (lambda folder: (folder / "a1_masks/9.png").unlink(), [], "1 of 6 query frames have no mask"),
        (_write("a1_masks/9.png", np.full((48, 64), 77, np.uint8)), [], "ids without an entry in objects: 77"),
    ],
)
def test_gaps_in_the_truth_are_flagged(tmp_path: Path, change: Change, invalid: list[int], warning: str) -> None:
    raw = tmp_path / "raw"
    labelled(raw, ["a1"], frames=20, video=False)
    change(raw)
    dataset = made(VideoSource(SHORT, raw), "a1-000", tmp_path / "d")
    assert warning in str(dataset.clips.at["a1-000", "warnings"])
    assert np.flatnonzero(~dataset.cameras("a1-000", range(20)).valid).tolist() == invalid


def test_a_clip_that_shows_no_object(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    labelled(raw, ["a1"], frames=20, video=False)
    for path in (raw / "a1_masks").iterdir():
        path.write_bytes(picture_bytes(np.zeros((48, 64), np.uint8), "PNG"))
    dataset = made(VideoSource(SHORT, raw), "a1-000", tmp_path / "d")
    assert "no mask of this clip shows an object" in str(dataset.clips.at["a1-000", "warnings"])
    assert not dataset.instance_maps("a1-000", [0, 5]).any() and dataset.instances("a1-000").empty
    assert not dataset.class_pixels("a1-000", range(20)).any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_write("a1_masks/9.png", np.full((48, 64), 10, np.uint8), "JPEG"), "saved as JPEG"),
        (_write("a1_masks/9.png", np.zeros((48, 64, 3), np.uint8)), "one channel of ids"),
        (_write("a1_masks/9.png", np.zeros((48, 60), np.uint8)), "another size"),
        (_write("a1_depth/9.png", np.zeros((48, 64), np.uint8)), "not a depth map"),
        (_write("a1_depth/9.png", np.zeros((40, 64), np.uint16)), "another size"),
        (_write("a1_depth/0.png", np.zeros((64, 48), np.uint16)), "another shape"),
        (lambda folder: (folder / "a1_depth/9.png").write_bytes(b""), "0 bytes"),
        (lambda folder: [p.unlink() for p in (folder / "a1_depth").iterdir()], "no depth map fits"),
        (lambda folder: [p.write_bytes(picture_bytes(np.zeros((48, 64), np.uint16), "PNG"))
                         for p in (folder / "a1_depth").iterdir()], "all depth maps of this clip are empty"),
        (_poses(lambda poses: [p.update(frame=p["frame"] + 500) for p in poses]), "no pose fits"),
    ],
)  # fmt: skip
def test_wrong_truth_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    raw = tmp_path / "raw"
    labelled(raw, ["a1"], frames=20, video=False)
    change(raw)
    with pytest.raises(DatasetError, match=message) as caught:
        VideoSource(SHORT, raw).make("a1-000")
    assert caught.value.where is not None


def test_opengl_poses_and_other_sizes(tmp_path: Path) -> None:
    """Cameras in OpenGL axes and for half the size give the same rays and poses."""
    raw = tmp_path / "raw"
    manifest = labelled(raw, ["a1"], frames=20, video=False)
    before = VideoSource(SHORT, raw).make("a1-000")
    entry = manifest["recordings"][0]
    entry["axes"] = "opengl"
    poses = json.loads((raw / "a1_poses.json").read_text())
    for pose in poses:
        pose["cam2world"] = (np.array(pose["cam2world"]) @ np.diag([1, -1, -1, 1])).tolist()
    (raw / "a1_poses.json").write_text(json.dumps(poses))
    camera = entry["camera"]
    entry["camera"] = {k: [32, 24] if k == "size" else v / 2 for k, v in camera.items()}
    write_manifest(raw, manifest)
    after = VideoSource(SHORT, raw).make("a1-000")
    np.testing.assert_allclose(after.cam2world, before.cam2world, atol=1e-7)
    np.testing.assert_allclose(after.intrinsics, before.intrinsics, rtol=1e-6)


def test_links_out_of_the_raw_folder_are_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "raw" / "a", 20)
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(picture_bytes(numbered(1)))
    (folder / "5.jpg").unlink()
    (folder / "5.jpg").symlink_to(outside)
    with pytest.raises(DatasetError, match="leads out of the raw data"):
        VideoSource(SHORT, tmp_path / "raw").make("a-000")


def test_changed_raw_data_is_not_mixed_with_old_clips(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    pictures(raw / "a", 20)
    prepare(VideoSource(SHORT, raw), tmp_path / "d", workers=1)
    pictures(raw / "b", 20)
    assert prepare(VideoSource(SHORT, raw), tmp_path / "d", workers=1).kept == 1  # more recordings are welcome
    (raw / "a" / "3.jpg").write_bytes(picture_bytes(numbered(3), quality=50))
    with pytest.raises(StaleError, match="raw data of 1 clips has changed") as caught:
        prepare(VideoSource(SHORT, raw), tmp_path / "d", workers=1)
    assert "a-000" in str(caught.value)
    shutil.rmtree(tmp_path / "d/clips/a-000")
    assert prepare(VideoSource(SHORT, raw), tmp_path / "d", workers=1).made == 1


def test_dry_run_keeps_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "raw", 60)
    words = [
        "prepare",
        "kind=video",
        f"raw={tmp_path / 'raw'}",
        f"root={tmp_path / 'home'}",
        "frames=20",
        "dry_run=true",
    ]
    assert main("data", "about", VERBS, words) == 0
    shown = capsys.readouterr().out
    assert (
        "to be made     3" in shown and "raw-000 made, raw-001 made" in shown and "disk " in shown and "time " in shown
    )
    assert not (tmp_path / "home" / "datasets").exists()


def test_splits(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    manifest = labelled(raw, ["a1", "b2"], frames=20, video=False)
    for entry in manifest["recordings"]:
        entry["group"] = "flat"
    manifest["recordings"][0]["split"] = "train"
    write_manifest(raw, manifest)
    assert VideoSource(SHORT, raw).make("b2-000").split == "train"  # of its group
    with pytest.raises(ClipRefused):
        VideoSource(VideoConfig(), raw).make("a1-000")
    with pytest.raises(MissingError):
        VideoSource(SHORT, tmp_path / "nowhere")
