"""Mistakes in cameras that users make: `verify` finds each, names it, and takes noise and stillness for none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from data.dataset.clip import Clip, DatasetInfo
from data.dataset.reader import PreparedDataset
from data.look.verify import verify
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from tests.data.toy import ToySource

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Given:
    """A source of clips that are there already."""

    clips: tuple[Clip, ...]

    @property
    def info(self) -> DatasetInfo:
        return ToySource().info

    def clip_ids(self) -> Sequence[str]:
        return [clip.clip_id for clip in self.clips]

    def make(self, clip_id: str) -> Clip:
        return next(clip for clip in self.clips if clip.clip_id == clip_id)


@pytest.fixture(scope="module")
def film() -> Callable[..., Clip]:
    """A walk through a room with the depth of a sensor; keys of the rooms changed."""

    def make(**changes: object) -> Clip:
        rooms = RoomsConfig(clips=1, render="query", height=48, width=64, min_visible=3)
        source = RoomsSource(replace(rooms, **changes))  # type: ignore[arg-type]
        return replace(source.make(source.clip_ids()[0]), depth_kind="sensor", split=None)

    return make


@pytest.fixture(scope="module")
def walk(film: Callable[..., Clip]) -> Clip:
    return film()


def verified(tmp_path: Path, *clips: Clip) -> int:
    prepare(Given(clips), tmp_path / "d", workers=1)
    return verify(PreparedDataset(tmp_path / "d"), workers=1)


def scaled(poses: np.ndarray, factor: float) -> np.ndarray:
    result = poses.copy()
    result[:, :3, 3] *= factor
    return result


@pytest.mark.parametrize(
    ("mistake", "named"),
    [
        (lambda poses: poses @ FLIP, "OpenGL axes (y up, z backwards) where OpenCV's are declared"),
        (np.linalg.inv, "world-to-camera instead"),
        (lambda poses: FLIP @ np.linalg.inv(poses), "world-to-camera, with OpenGL axes"),
        (lambda poses: np.linalg.inv(poses) @ FLIP, "world-to-camera instead"),
        (lambda poses: scaled(poses, 1000), "lengths in the poses were 0.001 times"),
        (lambda poses: scaled(poses, 0.001), "lengths in the poses were 1000 times"),
    ],
    ids=["axes", "inverse", "inverse OpenGL", "inverse of OpenGL declared", "millimetres", "depth in millimetres"],
)
def test_mistakes_are_named(
    walk: Clip, mistake: Callable[[np.ndarray], np.ndarray], named: str, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    wrong = replace(walk, cam2world=mistake(walk.cam2world.astype(np.float64)).astype(np.float32))
    assert verified(tmp_path, wrong) == 1
    assert named in " ".join(capsys.readouterr().out.split())


def test_noise_is_no_mistake(film: Callable[..., Clip], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    noisy = film(depth_noise=0.01, depth_dropout=0.3, pose_jitter_m=0.02, pose_jitter_deg=1.0, invalid_pose_prob=0.2)
    still = replace(film(camera="static"), clip_id="still")
    assert verified(tmp_path, noisy, still) == 0, capsys.readouterr().out


def test_what_can_not_be_checked_is_said(walk: Clip, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    invalid = np.zeros_like(walk.pose_valid)
    assert verified(tmp_path, replace(walk, pose_valid=invalid)) == 0
    assert "geometry of 1 clips with depth can't be checked" in capsys.readouterr().out
