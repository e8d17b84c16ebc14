"""Sampling by time, windows of equal length, and what becomes of short recordings."""

from __future__ import annotations

import numpy as np
import pytest

from configs.errors import ConfigError, DatasetError
from data.dataset.clip import ClipRefused
from data.video.config import VideoConfig
from data.video.sampling import sample, windows


def test_every_frame_and_every_third() -> None:
    assert sample(5, None, VideoConfig(), "x").tolist() == [0, 1, 2, 3, 4]
    assert sample(8, None, VideoConfig(every=3), "x").tolist() == [0, 3, 6]


def test_rates_go_by_time_stamps() -> None:
    steady = np.arange(60) / 30
    assert sample(60, steady, VideoConfig(fps=10), "x").tolist() == list(range(0, 60, 3))
    # 30 per second in the first second, 10 in the next two: the same times, whatever the rate
    varying = np.concatenate([np.arange(30) / 30, 1 + np.arange(20) / 10])
    chosen = sample(50, varying, VideoConfig(fps=5), "x")
    np.testing.assert_allclose(varying[chosen], np.arange(15) / 5, atol=1e-9)
    assert sample(1, np.zeros(1), VideoConfig(fps=5), "x").tolist() == [0]


def test_a_rate_above_the_recording_repeats_frames() -> None:
    sampled = sample(50, np.arange(50) / 10, VideoConfig(fps=20), "x")
    (window,) = windows(sampled, VideoConfig(fps=20), "x")
    assert window.frames[:5].tolist() == [0, 0, 1, 1, 2] and window.duplicate[:5].tolist() == [False, True] * 2 + [
        False
    ]


def test_pictures_have_no_rate() -> None:
    with pytest.raises(DatasetError, match="no time stamps"):
        sample(5, None, VideoConfig(fps=2), "x")
    with pytest.raises(ConfigError, match="both choose frames"):
        VideoConfig(fps=2, every=2).check()


@pytest.mark.parametrize(
    ("count", "options", "starts"),
    [
        (81, {}, [0]),
        (161, {}, [0]),
        (162, {}, [0, 81]),
        (200, {"stride": 40}, [0, 40, 80]),
        (400, {"clips": 2}, [0, 81]),
        (81, {"short": "repeat"}, [0]),
    ],
)
def test_windows(count: int, options: dict[str, object], starts: list[int]) -> None:
    found = windows(np.arange(count), VideoConfig(**options), "x")  # type: ignore[arg-type]
    assert [int(w.frames[0]) for w in found] == starts
    for window in found:
        assert len(window.frames) == 81 and not window.duplicate.any() and (np.diff(window.frames) == 1).all()


@pytest.mark.parametrize(("count", "short"), [(80, "refuse"), (20, "refuse"), (19, "repeat"), (0, "refuse")])
def test_short_recordings_are_refused(count: int, short: str) -> None:
    with pytest.raises(ClipRefused, match="too short"):
        windows(np.arange(count), VideoConfig(short=short), "x")


@pytest.mark.parametrize("count", [20, 59, 80])
def test_short_recordings_can_be_stretched(count: int) -> None:
    (window,) = windows(np.arange(count), VideoConfig(short="repeat"), "x")
    assert window.frames[0] == 0 and window.frames[-1] == count - 1
    assert int(window.duplicate.sum()) == 81 - count
