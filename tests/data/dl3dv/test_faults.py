"""Every broken scene ends in one clear error with its path; the others are imported all the same."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from configs.cli import main
from configs.errors import ConfigError, DatasetError, MissingError, SpatialprobeError
from data.__main__ import VERBS
from data.dataset.clip import ClipRefused
from data.dataset.reader import PreparedDataset
from data.dl3dv import scenes
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import DL3DVSource
from data.prepare.prepare import prepare
from tests.data.dl3dv.conftest import PLANS, Raw
from tests.data.dl3dv.faults import FAULTS, broken_copy

PROBLEMS = {
    "nan_json": ("transforms.json", "NaN is not a valid JSON number"),
    "text_intrinsics": ("transforms.json", "fl_x is not a number"),
    "no_intrinsics": ("transforms.json", "fl_x is not a number"),
    "unknown_model": ("transforms.json", "unknown camera_model"),
    "truncated_json": ("transforms.json", "not a readable JSON"),
    "empty_json": ("transforms.json", "an empty file"),
    "turned_json": ("transforms.json", "one of them is turned"),
    "duplicate_path": ("transforms.json", "listed twice"),
    "escaping_path": ("transforms.json", "leads out of its folder"),
    "absolute_path": ("transforms.json", "leads out of its folder"),
    "null_pose": ("transforms.json", "not a matrix"),
    "nan_pose": ("transforms.json", "NaN is not a valid JSON number"),
    "mirrored_pose": ("transforms.json", "mirrored"),
    "scaled_pose": ("transforms.json", "scaled by 1.1"),
    "missing_image": ("images_4", "are missing"),
    "empty_image": ("images_4/frame_00006.png", "0 bytes"),
    "truncated_image": ("images_4/frame_00006.png", "truncated or damaged"),
    "flipped_image": ("images_4/frame_00006.png", "truncated or damaged"),
    "other_size": ("images_4/frame_00006.png", "another size"),
    "deep_image": ("images_4/frame_00006.png", "16 bits"),
    "escaping_link": ("images_4/frame_00006.png", "leads out of the raw data"),
    "no_images": ("images_4", "no images"),
    "no_depth": ("oracle/depth/frame_00001.png", "missing"),
    "nan_truth": ("oracle/cameras.json", "NaN is not a valid JSON number"),
    "short": ("images_4", "too few"),
}
"""What the error of each fault names: the end of the path, and a part of the problem; `no_json` spares the oracle."""


@pytest.fixture(scope="module")
def broken(emit: Callable[..., Raw]) -> Raw:
    """Two sound scenes and one of every fault."""
    return emit(clips=2, portrait=0, nested=0, distorted=0, frames=10, height=24, width=32, broken=FAULTS)


def test_every_fault_is_named_and_the_rest_goes_on(broken: Raw, tmp_path: Path) -> None:
    sound, faulty = broken.scenes[:2], dict(zip(FAULTS, broken.scenes[2:], strict=True))
    source = DL3DVSource(DL3DVConfig(teacher="oracle", min_frames=8), broken.folder)
    path = tmp_path / "d"
    with pytest.raises(DatasetError, match=r"24 of 28 clips could not be made"):
        prepare(source, path, plans=PLANS, workers=1)
    assert not (path / "manifest.json").exists()
    summary = prepare(source, path, plans=PLANS, workers=1, allowed_failures=len(PROBLEMS))
    assert set(PreparedDataset(path).clips.index) == {*sound, faulty["no_json"]}
    assert set(summary.refused) == {faulty["short"]}
    reasons = {**summary.failed, **summary.refused}
    assert set(reasons) == {faulty[fault] for fault in PROBLEMS}
    for fault, (place, problem) in PROBLEMS.items():
        name = faulty[fault]
        kept = json.loads((path / "quarantine" / f"{name}.json").read_bytes())["reason"]
        for text in (reasons[name], kept):
            assert problem in text.splitlines()[0] and f"{name}/{place}" in text, (fault, text)


def test_a_missing_transforms_json_matters_to_colmap_only(broken: Raw) -> None:
    name = broken.scenes[2 + list(FAULTS).index("no_json")]
    with pytest.raises(DatasetError, match=r"(?s)no transforms\.json.*teacher=none"):
        DL3DVSource(DL3DVConfig(min_frames=8), broken.folder).make(name)
    clip = DL3DVSource(DL3DVConfig(min_frames=8, teacher="none"), broken.folder).make(name)
    assert not clip.pose_valid.any() and clip.pose_kind == "none" and clip.depth is None
    assert "intrinsics are nominal" in clip.warnings[0]
    with pytest.raises(DatasetError, match=r"undistort=true needs transforms\.json"):
        DL3DVSource(DL3DVConfig(min_frames=8, teacher="none", undistort=True), broken.folder).make(name)


def test_broken_truth_matters_to_the_oracle_only(broken: Raw) -> None:
    for fault in ("no_depth", "nan_truth"):
        name = broken.scenes[2 + list(FAULTS).index(fault)]
        assert DL3DVSource(DL3DVConfig(min_frames=8), broken.folder).make(name).pose_kind == "colmap"


def test_truth_that_is_absent_or_of_another_camera(raw: Raw, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw.scene(0), folder / raw.scenes[0])
    cameras = folder / raw.scenes[0] / "oracle/cameras.json"
    whole = json.loads(cameras.read_bytes())
    source = DL3DVSource(DL3DVConfig(teacher="oracle"), folder)
    first = next(iter(whole["cam2world"]))
    bad = {
        "not a camera matrix": {**whole, "matrix": [[0, 0, 1], [0, 1, 1], [0, 0, 1]]},
        "not the stored cameras": {"width": 3},
        "is not rigid": {**whole, "cam2world": {**whole["cam2world"], first: [[2.0] * 4] * 4}},
        "lacks a frame": {**whole, "cam2world": {k: v for k, v in whole["cam2world"].items() if k != first}},
        "another size": {**whole, "width": 32},
    }
    for problem, content in bad.items():
        cameras.write_text(json.dumps(content))
        with pytest.raises(SpatialprobeError, match=problem):
            source.make(raw.scenes[0])
    shutil.rmtree(cameras.parent)
    with pytest.raises(DatasetError, match=r"(?s)no stored truth.*emit format=dl3dv"):
        source.make(raw.scenes[0])


def test_refused_by_the_rule_of_length(raw: Raw) -> None:
    with pytest.raises(ClipRefused, match=r"(?s)20 frames are too few.*min_frames=20"):
        DL3DVSource(DL3DVConfig(min_frames=21), raw.folder).make(raw.scenes[0])


def test_other_sizes_are_refused_if_one_is_asked_for(raw: Raw, tmp_path: Path) -> None:
    """A probe needs ground truth of one size, and upright scenes have another."""
    summary = prepare(DL3DVSource(DL3DVConfig(image_size="64x48"), raw.folder), tmp_path / "d", plans=PLANS, workers=1)
    assert summary.made == 3 and list(summary.refused) == [raw.scenes[3]] and not summary.failed
    assert "48x64" in summary.refused[raw.scenes[3]]


def test_raw_folders_without_scenes(tmp_path: Path, raw: Raw) -> None:
    with pytest.raises(DatasetError, match="no scenes here"):
        DL3DVSource(DL3DVConfig(), tmp_path)
    (tmp_path / "1K").mkdir()
    (tmp_path / "1K" / "abc.zip").touch()
    with pytest.raises(DatasetError, match=r"(?s)unzip .*abc\.zip"):
        DL3DVSource(DL3DVConfig(), tmp_path)
    for batch in ("1K", "2K"):
        (tmp_path / batch / "abc" / "images_4").mkdir(parents=True)
    with pytest.raises(DatasetError, match="abc is there twice"):
        DL3DVSource(DL3DVConfig(), tmp_path)
    with pytest.raises(MissingError, match="no scene 'xyz'"):
        DL3DVSource(DL3DVConfig(scenes=["xyz"]), raw.folder)
    with pytest.raises(DatasetError, match="is a folder"):
        DL3DVSource(DL3DVConfig(), next(raw.folder.rglob("*.png")))


def test_batches_that_are_links_out_are_left_out(raw: Raw, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    shutil.copytree(raw.scene(0), folder / "1K" / raw.scenes[0])
    (folder / "2K").symlink_to(raw.folder / "1K")
    assert DL3DVSource(DL3DVConfig(), folder).clip_ids() == [raw.scenes[0]]


def test_what_is_not_a_scene_is_reported(raw: Raw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warned: list[str] = []
    monkeypatch.setattr(scenes.log, "warning", lambda text, *values: warned.append(text % values))
    shutil.copytree(raw.scene(0), tmp_path / "1K" / raw.scenes[0])
    (tmp_path / "1K" / "empty").mkdir()
    (tmp_path / "1K" / "packed.zip").touch()
    assert DL3DVSource(DL3DVConfig(), tmp_path).clip_ids() == [raw.scenes[0]]
    assert len(warned) == 2 and "empty" in warned[0] and "packed.zip" in warned[1]


def test_scenes_are_found_at_every_depth(raw: Raw) -> None:
    scene = raw.folder / "1K" / raw.scenes[0]
    for folder, expected in (
        (raw.folder, sorted(raw.scenes)),
        (scene.parent, sorted(raw.scenes)),
        (scene, [scene.name]),
    ):
        assert DL3DVSource(DL3DVConfig(), folder).clip_ids() == expected
    assert DL3DVSource(DL3DVConfig(scenes=raw.scenes[:2]), raw.folder).clip_ids() == sorted(raw.scenes[:2])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["teacher=vgt"], "vggt"),
        (["image_size=960"], "image_size is not a size"),
        (["teacher_side=100"], "multiple of the patch"),
        (["images=video"], "which frames of the video"),
        (["images=video", "clips=all"], "clips=all"),
        (["clips=first", "min_frames=200"], "min_frames is above"),
        (["undistorted=true"], "did you mean undistort"),
        (["raw="], "raw= is empty"),
    ],
)
def test_contradicting_options(
    words: list[str], message: str, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = [f"raw={raw.folder}", f"root={tmp_path}"]
    assert main("data", "", VERBS, ["prepare", "kind=dl3dv", *base, *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "datasets").exists()


def test_config_errors_name_the_command() -> None:
    with pytest.raises(ConfigError, match=r"(?s)fix:.*teacher_side=98"):
        DL3DVConfig(teacher_side=100).check()


def test_the_command_line_emits_imports_and_forecasts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw, root = tmp_path / "raw", f"root={tmp_path / 'art'}"
    small = ["clips=2", "frames=12", "height=24", "width=32", "min_visible=2", "workers=1"]
    assert main("data", "", VERBS, ["emit", "format=dl3dv", f"out={raw}", *small]) == 0
    assert "2 recordings" in capsys.readouterr().out
    broken_copy(sorted((raw / "1K").iterdir())[0], "broken", "empty_image")
    words = ["prepare", "kind=dl3dv", f"raw={raw}", root, "workers=1", "min_frames=8", "plans=[uniform-3]"]
    assert main("data", "", VERBS, [*words, "dry_run=true"]) in (0, 1)  # 1 if the broken scene was tried
    assert "Forecast" in capsys.readouterr().out and not (tmp_path / "art/datasets").exists()
    assert main("data", "", VERBS, words) == 1
    assert main("data", "", VERBS, [*words, "allowed_failures=1"]) == 0
    dataset = PreparedDataset(tmp_path / "art/datasets/dl3dv")
    assert len(dataset.clips) == 2 and not (dataset.path / "teacher").exists()
    assert main("data", "", VERBS, ["emit", "format=dl3dv", f"out={raw}", *small]) == 2  # never overwrites
