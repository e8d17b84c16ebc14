"""Control twins: the same probe on targets of other clips. What a twin learns, it has memorised, not read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from configs.errors import DatasetError
from data.dataset.views import clip_rng
from probe.task import Metric


def donors(clip_ids: Sequence[str], seed: int) -> dict[str, str]:
    """Return for each clip another one of the same split, the donor of its twin's targets; each clip gives once.

    Args:
        clip_ids: the clips of one split.
        seed: of the assignment.

    Raises:
        DatasetError: a single clip has no other.
    """
    if len(clip_ids) < 2:
        raise DatasetError(
            "shuffled targets need two clips or more in every split", found=list(clip_ids), fix="leave out control=true"
        )
    order = [clip_ids[int(i)] for i in clip_rng(seed, 0, "", "control").permutation(len(clip_ids))]
    return {clip_id: order[(i + 1) % len(order)] for i, clip_id in enumerate(order)}


def selectivity(
    real: Mapping[str, Mapping[str, Any]], twin: Mapping[str, Mapping[str, Any]], metrics: Mapping[str, Metric]
) -> dict[str, float]:
    """Return metric -> by how much a probe is better on the true targets than its twin on shuffled ones.

    After Hewitt and Liang (2019): an expressive probe scores well on anything, a selective one only where the
    features hold the answer. Positive is better whichever way the metric points; undefined ones are left out.

    Args:
        real, twin: summaries of the same split, as `Scores.summary` returns them.
        metrics: what is known of the task's metrics, by key; others are left out.
    """
    result = {}
    for key, info in metrics.items():
        if info.diagnostic:
            continue
        ours, theirs = (side.get(key, {}).get("value") for side in (real, twin))
        if ours is not None and theirs is not None:
            difference = ours - theirs
            result[key] = difference if info.better == "higher" else -difference
    return {key: value for key, value in result.items() if math.isfinite(value)}
