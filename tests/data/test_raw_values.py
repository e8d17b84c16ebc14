"""JSON that others wrote, and camera poses: what can't be used is said, never mended."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import DatasetError
from data.dataset.check import check_poses, describe_invalid
from data.raw.folder import parse_json


def test_json() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null]}', "x") == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"{", "not a readable JSON"),
        (b'{"a": 1,}', "not a readable JSON"),
        (b'{"a": NaN}', "NaN is not a valid JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a valid JSON number"),
        (b'{"a": 1e400}', "1e400 is not a valid JSON number"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "repeats in one object"),
        (b'"\xff\xfe"', "not a readable JSON"),
        (b"[" * 100_000, "not a readable JSON"),
    ],
)
def test_strict_json(text: bytes, message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        parse_json(text, "/raw/transforms.json")
    assert "/raw/transforms.json" in str(caught.value)


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
