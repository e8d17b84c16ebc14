"""Windows, rows and the query map of every family, against the published tables."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError
from data.dataset.clip import QUERY_POSITIONS
from extract.frames import FramePlan, aligned, consecutive, image_plan, interleaved, latent_frames, video_plan
from extract.job.forward import read_clip

ONE_EACH = tuple(range(20))
SHARED = (0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10)


@pytest.mark.parametrize(
    ("plan", "rows", "tokens"),
    [
        (consecutive(81), ONE_EACH, 21),
        (consecutive(129), ONE_EACH, 33),
        (interleaved(49), SHARED, 13),
        (interleaved(41), SHARED, 11),
        (aligned(49), ONE_EACH, 13),
        (aligned(41), ONE_EACH, 11),
        (image_plan(), ONE_EACH, 20),
    ],
)
def test_query_map(plan: FramePlan, rows: tuple[int, ...], tokens: int) -> None:
    assert plan.row_of_slot == rows
    assert plan.tokens == tokens
    for slot, position in enumerate(QUERY_POSITIONS):
        row = plan.rows[plan.row_of_slot[slot]]
        assert position in row.source_frames


def test_wan_latents_cover_the_frames_that_follow_a_query_frame() -> None:
    plan = consecutive(81)
    assert plan.rows[0].source_frames == (0,)
    for slot in range(1, 20):
        assert plan.rows[slot].source_frames == tuple(range(4 * slot - 3, 4 * slot + 1))


def test_interleaved_windows_are_the_published_ones() -> None:
    (window,) = interleaved(49).windows
    assert window == (0, *range(1, 96, 2))
    assert interleaved(41).windows == ((0, *range(1, 80, 2)),)
    assert interleaved(49).rows[1].source_frames == (1, 3, 5, 7)
    assert interleaved(49).rows[10].source_frames == (73, 75, 77, 79)


@pytest.mark.parametrize("frames", [49, 41])
def test_aligned_windows_give_every_slot_the_same_frames_as_wan(frames: int) -> None:
    assert [row.source_frames for row in aligned(frames).rows] == [
        row.source_frames for row in consecutive(81).rows[:20]
    ]
    assert max(aligned(frames).positions) == 76


def test_latent_frames() -> None:
    assert [latent_frames(n) for n in (1, 81, 49, 41, 129)] == [1, 21, 13, 11, 33]
    for wrong in (0, 8, 80, 82):
        with pytest.raises(DatasetError, match="4k \\+ 1"):
            latent_frames(wrong)


def test_a_window_must_hold_every_query_frame() -> None:
    with pytest.raises(MissingError, match="no window holds"):
        video_plan([range(41)])


class Counting:
    """A dataset whose frames hold their own position."""

    name = "counting"

    def __init__(self, length: int) -> None:
        self.length = length

    def positions(self, clip_id: str) -> NDArray[np.int64]:
        return np.arange(self.length)

    def frames(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.uint8]:
        return np.array(positions, np.uint8)[:, None, None, None]


def read(plan: FramePlan, length: int) -> tuple[int, ...]:
    dataset: Any = Counting(length)
    adapter: Any = SimpleNamespace(spec=SimpleNamespace(name="model", frames=plan, ground_truth=()))
    return tuple(read_clip(dataset, adapter, "clip").frames.ravel().tolist())


def test_short_clips_repeat_their_last_frame_and_shift_nothing() -> None:
    seen = read(consecutive(81), 30)
    assert seen[:30] == tuple(range(30))
    assert set(seen[30:]) == {29} and len(seen) == 81
    assert read(image_plan(), 75) == QUERY_POSITIONS
    assert read(image_plan(), 60)[:15] == QUERY_POSITIONS[:15]
    with pytest.raises(DatasetError, match="no frames"):
        read(image_plan(), 0)


def test_gather_restores_the_windows() -> None:
    plan = aligned(49)
    for window, indices in zip(plan.windows, plan.gather, strict=True):
        assert tuple(plan.positions[i] for i in indices) == window
