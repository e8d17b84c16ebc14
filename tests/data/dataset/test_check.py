"""Camera poses that others wrote: what can't be used is flagged with the reason, never mended."""

from __future__ import annotations

import numpy as np

from data.dataset.check import check_poses, describe_invalid


def test_poses() -> None:
    poses = np.tile(np.eye(4), (9, 1, 1))
    angle = 0.3
    poses[0, :2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    poses[1] = -np.inf
    poses[2, 1, 1] = np.nan
    poses[3, 0, 0] = -1
    poses[4, :3, :3] *= 1.5
    poses[5, 3, 0] = 0.1
    poses[6, 0, 1] = 0.2
    poses[7, :3, :3] = 0
    before = poses.copy()
    valid, reasons = check_poses(poses)
    assert valid.tolist() == [True, False, False, False, False, False, False, False, True]
    for i, word in enumerate(["", "NaN", "NaN", "mirrored", "scaled by 1.5", "last row", "sheared", "singular", ""]):
        assert word in reasons[i]
    np.testing.assert_array_equal(poses, before)
    assert describe_invalid(reasons, np.arange(9) * 10)[0] == "2 invalid poses (NaN or infinite entries): frames 10, 20"
    assert describe_invalid(["", ""]) == []
