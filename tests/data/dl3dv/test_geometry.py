"""What is left between two sets of poses after the best similarity."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from data.dl3dv.geometry import agreement


def path(count: int = 30, line: bool = False) -> np.ndarray:
    rng = np.random.default_rng(1)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(rng.normal(0, 0.3, (count, 3))).as_matrix()
    poses[:, :3, 3] = np.linspace(0, 1, count)[:, None] * (1, 2, 3) if line else rng.normal(0, 2, (count, 3))
    return poses


def moved(poses: np.ndarray, scale: float) -> np.ndarray:
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec([0.4, -2.0, 1.0]).as_matrix()
    result: np.ndarray = turn @ poses
    result[:, :3, 3] = scale * result[:, :3, 3] + (5, -3, 2)
    return result


@pytest.mark.parametrize("line", [False, True])
def test_a_similarity_leaves_nothing(line: bool) -> None:
    same = agreement(path(line=line), moved(path(line=line), 0.25))
    assert same is not None and same.frames == 30
    assert same.rotation_deg < 1e-6 and same.ate is not None and same.ate < 1e-9
    assert same.scale == pytest.approx(0.25)


def test_errors_are_measured_in_the_targets_units() -> None:
    rng = np.random.default_rng(2)
    target = moved(path(200), 3.0)
    target[:, :3, 3] += rng.normal(0, 0.1, (200, 3))
    target[:, :3, :3] = (
        target[:, :3, :3] @ Rotation.from_rotvec([[0, 0, np.radians(3)], [0, 0, -np.radians(3)]] * 100).as_matrix()
    )
    same = agreement(path(200), target)
    assert same is not None and same.ate == pytest.approx(0.1 * np.sqrt(3), rel=0.1)
    assert same.rotation_deg == pytest.approx(3, rel=0.05)
    spread = np.sqrt(((target[:, :3, 3] - target[:, :3, 3].mean(0)) ** 2).sum(1).mean())
    assert same.ate_relative == pytest.approx(same.ate / spread)


def test_a_mirrored_path_has_no_scale_that_helps() -> None:
    poses = path()
    other = poses.copy()
    other[:, :3, 3] *= -1
    same = agreement(poses, other)
    assert same is not None and same.scale == 0 and same.ate_relative == pytest.approx(1)


def test_still_cameras_and_single_frames_are_no_evidence() -> None:
    still = path()
    still[:, :3, 3] = 1.0
    same = agreement(path(), still)
    assert same is not None and same.rotation_deg < 1e-6 and same.ate is None and same.scale is None
    assert agreement(path(1), path(1)) is None
