"""Which frames of a recording become which clips: sampling by time or count, then windows of equal length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dataset.clip import ClipRefused
from data.video.config import MIN_FRAMES, VideoConfig


@dataclass(frozen=True)
class Window:
    """One clip of a recording.

    Attributes:
        frames: (T,) numbers of its frames in the recording, in time order; a number that repeats is a repeated frame.
        duplicate: (T,) bool, True where a position repeats an earlier frame.
    """

    frames: NDArray[np.int64]
    duplicate: NDArray[np.bool_]


def sample(count: int, seconds: NDArray[np.float64] | None, config: VideoConfig, where: str) -> NDArray[np.int64]:
    """Return the numbers of the frames that are sampled from a recording.

    With `fps`, sample k is the frame nearest to the time k / fps after the first frame, whatever the rate of the
    recording is and however it varies; a rate above the recording's own repeats frames.

    Args:
        count: frames of the recording.
        seconds: (count,) time of each frame, increasing; None for pictures without time stamps.
        config: `fps` or `every`.
        where: the recording, for messages.

    Raises:
        DatasetError: `fps` is asked of pictures without time stamps.
    """
    if config.fps is None:
        return np.arange(0, count, config.every, dtype=np.int64)
    if seconds is None:
        raise DatasetError(
            "these pictures have no time stamps to sample by", found=f"fps={config.fps:g}", where=where,
            fix='use every=2 instead, or add "fps": 30 to the recording in the manifest',
        )  # fmt: skip
    elapsed = seconds - seconds[0]
    wanted = np.arange(int(np.floor(elapsed[-1] * config.fps + 1e-6)) + 1) / config.fps
    right = np.clip(np.searchsorted(elapsed, wanted), 1, max(1, count - 1))
    if count == 1:
        return np.zeros(len(wanted), np.int64)
    nearer_left = wanted - elapsed[right - 1] <= elapsed[right] - wanted
    return np.where(nearer_left, right - 1, right).astype(np.int64)


def windows(sampled: NDArray[np.int64], config: VideoConfig, where: str) -> list[Window]:
    """Cut sampled frames into clips.

    Args:
        sampled: numbers of the sampled frames.
        config: `frames`, `stride`, `clips`, `short`.
        where: the recording, for messages.

    Raises:
        ClipRefused: there are too few for one clip.
    """
    count = len(sampled)
    if count >= config.frames:
        starts = range(0, count - config.frames + 1, config.stride or config.frames)
        chosen = [sampled[start : start + config.frames] for start in starts]
        chosen = chosen[: config.clips] if config.clips else chosen
    elif config.short == "repeat" and len(np.unique(sampled)) >= MIN_FRAMES:
        chosen = [sampled[np.round(np.linspace(0, count - 1, config.frames)).astype(np.int64)]]
    else:
        least = MIN_FRAMES if config.short == "repeat" else config.frames
        raise ClipRefused(
            "too short for a clip", expected=f"at least {least} sampled frames", found=count, where=where,
            fix="film longer, raise fps= (or lower every=), or stretch recordings of 20 frames and more: short=repeat",
        )  # fmt: skip
    return [Window(frames, np.concatenate([[False], np.diff(frames) == 0])) for frames in chosen]
