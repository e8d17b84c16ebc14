"""Every fault ends in one clear error that names the file, or in a flag and a warning; the other scans go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from configs.errors import ConfigError, DatasetError, MissingError
from data.dataset.clip import ClipRefused
from data.dataset.reader import PreparedDataset
from data.emit.scannet import EmitScannet, emit_scannet
from data.emit.scannet_scan import RawScan
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.scannet.source import ScannetSource
from tests.data.scannet.faults import FAULTS

Release = Callable[..., ScannetSource]
NAME = "scene0000_00"
REFUSED = {
    "cut_sens": (f"{NAME}.sens", "cut off"),
    "empty_sens": (f"{NAME}.sens", "0 bytes"),
    "flipped_size": (f"{NAME}.sens", "damaged"),
    "flipped_depth": (f"{NAME}.sens", "depth image of frame 1 is damaged"),
    "cut_image": (f"{NAME}.sens, frame 1", "truncated or damaged picture"),
    "missing_zip": (f"{NAME}_2d-instance-filt.zip", "instance images are missing"),
    "cut_zip": (f"{NAME}_2d-instance-filt.zip", "not a whole zip"),
    "zip_slip": (f"{NAME}_2d-instance-filt.zip", "leads out of its folder"),
    "missing_mask": ("instance-filt/1.png", "member of an archive is missing"),
    "jpeg_mask": ("instance-filt/1.png", "mask saved as JPEG"),
    "small_mask": ("instance-filt/1.png", "expected: 64x48"),
    "nan_aggregation": (f"{NAME}.aggregation.json", "NaN"),
    "contradiction": (f"{NAME}.aggregation.json", "twice, differently"),
    "empty_image": ("exported/color/1.jpg", "0 bytes"),
    "cmyk_image": ("exported/color/1.jpg", "CMYK"),
    "turned_image": ("exported/color/1.jpg", "EXIF"),
    "small_depth": ("exported/depth/1.png", "expected: 64x48"),
    "missing_pose": ("exported/pose/1.txt", "missing"),
    "odd_pose": ("exported/pose/1.txt", "not a matrix"),
}
"""Fault -> what the error must name, and say."""
FLAGGED = {
    "no_imu_tail": "IMU records",
    "frames_50": "31 of 81 positions repeat",
    "nan_poses": "2 invalid poses (NaN or infinite entries): frames 1, 2",
    "mirrored_pose": "1 invalid poses (the rotation is mirrored): frames 1",
    "scaled_pose": "1 invalid poses (the rotation is scaled by 1.1): frames 1",
    "double_objects": "listed twice",
    "wrong_label": "is a 'bathtub' but labelled 'floor'",
    "unknown_id": "the aggregation lacks",
}
"""Fault -> what the warning must say."""


def test_every_fault_has_its_expectation() -> None:
    assert REFUSED.keys() | FLAGGED.keys() | {"frames_19"} == FAULTS.keys()


@pytest.mark.parametrize("fault", REFUSED)
def test_refused(release: Release, brief: RawScan, fault: str) -> None:
    source = release({NAME: fault}, brief, "both" if "exported" in REFUSED[fault][0] else "sens")
    with pytest.raises((DatasetError, MissingError)) as caught:
        source.make(NAME)
    where, what = REFUSED[fault]
    assert where in str(caught.value) and what in str(caught.value)
    assert not isinstance(caught.value, ClipRefused)


@pytest.mark.parametrize("fault", FLAGGED)
def test_flagged(release: Release, fault: str) -> None:
    clip = release({NAME: fault}, layout="sens").make(NAME)
    assert any(FLAGGED[fault] in warning for warning in clip.warnings), clip.warnings
    ok = fault not in ("wrong_label", "unknown_id")
    assert clip.facts["id_check_ok"] is ok
    assert clip.pose_valid.sum() == 81 - {"nan_poses": 2, "mirrored_pose": 1, "scaled_pose": 1}.get(fault, 0)


def test_doubled_objects_change_nothing_else(release: Release, brief: RawScan) -> None:
    source = release({NAME: None, "scene0001_00": "double_objects"}, brief, "sens")
    sound, doubled = source.make(NAME), source.make("scene0001_00")
    assert sound.instances == doubled.instances and doubled.facts["n_objects_merged"] == len(sound.instances)
    np.testing.assert_array_equal(sound.instance, doubled.instance)


def test_repeated_frames_are_named_once(release: Release, brief: RawScan) -> None:
    clip = release({NAME: "nan_poses"}, brief, "sens").make(NAME)
    assert (~clip.pose_valid).sum() > 2
    assert "2 invalid poses (NaN or infinite entries): frames 1, 2" in clip.warnings


def test_invalid_poses_are_kept_as_they_came(release: Release) -> None:
    clip = release({NAME: "nan_poses"}, layout="sens").make(NAME)
    assert np.isneginf(clip.cam2world[1]).all() and np.isnan(clip.cam2world[2, 0, 0])
    assert np.isfinite(clip.cam2world[2, 1:]).all()


def test_the_rest_goes_on(tmp_path: Path, release: Release, brief: RawScan) -> None:
    faults = ["cut_sens", "zip_slip", "frames_19", "cmyk_image"]
    scans = {f"scene{rank:04d}_00": fault for rank, fault in enumerate([None, *faults])}
    source, path = release(scans, brief), tmp_path / "d"
    before = sorted(p for p in tmp_path.rglob("*") if "/d/" not in str(p))
    with pytest.raises(DatasetError, match="3 of 5 clips could not be made"):
        prepare(source, path, workers=1, allowed_failures=2)
    summary = prepare(source, path, workers=1, allowed_failures=3)
    assert (len(summary.failed), len(summary.refused)) == (3, 1)
    assert list(PreparedDataset(path).clips.clip_id) == [NAME]
    reasons = {p.stem: json.loads(p.read_text())["reason"] for p in (path / "quarantine").iterdir()}
    assert reasons.keys() == scans.keys() - {NAME} and all(name in reasons[name] for name in reasons)
    assert sorted(p for p in tmp_path.rglob("*") if "/d/" not in str(p) and p != path) == before


def test_emit_refuses_what_it_cannot_write(tmp_path: Path) -> None:
    def emit(**options: object) -> None:
        rooms = RoomsConfig(**options)  # type: ignore[arg-type]
        emit_scannet(EmitScannet(format="scannet", out=str(tmp_path / "raw"), rooms=rooms))

    with pytest.raises(ConfigError, match="clips_per_room=1"):
        emit(clips_per_room=2)
    assert not list(tmp_path.iterdir())
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/thesis.tex").touch()
    with pytest.raises(ConfigError, match="already exists"):
        emit()
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["thesis.tex"]


def test_emitted_bytes_depend_on_options_only(tmp_path: Path, raw: Path) -> None:
    from configs.files import file_digests
    from tests.data.scannet.conftest import SMALL

    out = tmp_path / "again"
    rooms = RoomsConfig(**{**SMALL, "clips": 1})  # type: ignore[arg-type]
    emit_scannet(EmitScannet(format="scannet", out=str(out), workers=1, rooms=rooms, rescans=0))
    again, first = file_digests(out / "scans"), file_digests(raw / "scans")
    assert again == {name: first[name] for name in again} and len(again) > 240


def test_scans_that_are_too_short_are_refused(release: Release, brief: RawScan) -> None:
    source = release({NAME: None, "scene0001_00": "frames_19"}, brief, "sens")
    assert source.make(NAME).frame_dup.sum() == 81 - 22
    with pytest.raises(ClipRefused):
        source.make("scene0001_00")
