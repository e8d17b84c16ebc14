"""Options of `spatialprobe probe scout`; loads no torch."""

from __future__ import annotations

import dataclasses

from configs.cli import RootConfig
from configs.options import option


@dataclasses.dataclass(frozen=True)
class ScoutConfig(RootConfig):
    """Which features to compare, and on what."""

    task: str = option(help="what to scout for")
    model: list[str] = option(
        help='whose features; several sources ("wan-t2v-14b qwen3-vl-8b") are ranked together; default: the only store',
        factory=list,
    )
    dataset: str | None = option(None, "prepared dataset; default: the one the store was made from")
    store: str | None = option(None, "folder of the store, or the first digits of its fingerprint")
    layers: list[str] = option(
        help="block numbers, array names, paper or even4; default: all that the store has", factory=list
    )
    noise: list[str] = option(
        help="noise levels, as coefficient such as 0.502 or timestep such as t:502; default: every one", factory=list
    )
    queries: int = option(0, "queries per clip; 0: as many as the published protocol of the task has", minimum=0)
    pixels: int = option(512, "pixels per clip to learn from and to judge by, for tasks that look at pixels", minimum=2)
    fraction: float = option(1.0, "share of the training clips to learn from", minimum=0.0, maximum=1.0)
    best: int = option(3, "arrays in the commands that train probes", minimum=1)
    out: str | None = option(None, "also write the table to this JSON file")
