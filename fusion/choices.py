"""Which arrays, grid, clips and slots of the parents are fused, and how the result is stored."""

from __future__ import annotations

import dataclasses

from cache.format.spec import ITEM_BYTES
from configs.options import option

UPSAMPLING = ("native", "always", "never")
"""Whether a map may be interpolated to a finer grid: only if it is the model's own grid, always, or never."""

SHARING = ("all", "common")


@dataclasses.dataclass
class Choices:
    """Which arrays, grid, clips and slots of the parents are fused, and how the result is stored."""

    layers: list[str] = option(
        help="one entry per model: a block, an array name, or all; default all combinations", factory=list
    )
    grid: str = option("last", "where branches meet: rows x columns, first, last, or a model's name")
    upsample: str = option(
        "native", "interpolate to a finer grid: native (only a model's own grid), always, never", choices=UPSAMPLING
    )
    clips: str = option(
        "all", "all: parents must have the same clips; common: fuse those that all have", choices=SHARING
    )
    slots: str = option("all", "the same for query slots", choices=SHARING)
    dtype: str = option("auto", "of fused values; auto: the widest of the parents'", choices=["auto", *ITEM_BYTES])
