"""Options of `prepare kind=video`: how recordings are cut into clips and at which size they are kept."""

from __future__ import annotations

import dataclasses
from typing import Any

from configs.errors import ConfigError
from configs.options import option

MIN_FRAMES = 20
"""Recordings with fewer frames than this make no clip, whatever the options say."""


@dataclasses.dataclass(frozen=True)
class VideoConfig:
    """How recordings become clips. `check` holds the rules that involve more than one key.

    A recording is sampled (`fps` or `every`), then cut into clips of `frames` frames that begin every `stride` frames;
    what is left at the end is dropped. A recording too short for one clip is refused, or with `short=repeat` stretched
    over one clip, its repeated frames flagged.
    """

    frames: int = option(81, "positions per clip; probes ask for 0, 1, 5, ..., 73", minimum=MIN_FRAMES, maximum=1000)
    fps: float | None = option(
        None, "frames per second to sample at, by time stamps; none: every frame", minimum=0.01, maximum=1000
    )
    every: int = option(1, "take every n-th frame; an alternative to fps", minimum=1, maximum=1000)
    stride: int | None = option(
        None, "sampled frames from the start of a clip to the next one's; none: no overlap", minimum=1
    )
    clips: int = option(0, "at most this many clips per recording, from its start; 0: all that fit", minimum=0)
    short: str = option(
        "refuse", "recordings of 20 frames or more, but too few for a clip", choices=("refuse", "repeat")
    )
    max_side: int = option(960, "larger frames are reduced to this longer side, pixels", minimum=64, maximum=4096)
    gt_side: int = option(640, "the same for depth and masks, pixels", minimum=32, maximum=2048)
    jpeg_quality: int = option(95, "quality of frames that have to be encoded again, 4:4:4", minimum=10, maximum=100)
    splits: str = option(
        "hash",
        "of recordings that the manifest gives no split: hash of the group; cycle: groups in turn, 3 train, 1 select, "
        "1 report",
        choices=("hash", "cycle"),
    )

    def check(self) -> None:
        """Refuse combinations that contradict each other.

        Raises:
            ConfigError: two keys contradict each other.
        """
        if self.fps is not None and self.every != 1:
            raise ConfigError(
                "fps and every both choose frames", found=f"fps={self.fps} every={self.every}", fix="leave one out"
            )

    def parameters(self) -> dict[str, Any]:
        """Return the options that change a value; how many clips are made does not."""
        return {key: value for key, value in dataclasses.asdict(self).items() if key != "clips"}
