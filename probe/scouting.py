"""What a task offers to a scout: the functions of its file `scout.py`, which train nothing; loads no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from data.dataset.ceilings import cells
from data.dataset.reader import PreparedDataset
from probe.task import Metric, load_task, task_file, task_names

Floats = NDArray[np.float64]
NAMES = ("METRICS", "WITHIN_CLIPS", "truth", "regressors", "targets", "judge", "score")
"""What a file `scout.py` defines, see `ScoutPart`."""


@dataclass(frozen=True)
class Truth:
    """Ground truth of the queries of one clip: the same for all features that are compared.

    Attributes:
        clip_id: the clip.
        values: (n, ...) what the task makes targets of, one entry per sample; n may be 0.
        places: (n, 3) int64 query, row and column of the pixel of each sample; None if a sample is the whole clip.
        size: (height, width) of the maps that `places` counts in.
    """

    clip_id: str
    values: NDArray[Any]
    places: NDArray[np.int64] | None = None
    size: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        return len(self.values)


class ScoutPart(Protocol):
    """A task's file `scout.py`: what is regressed on what, and how predictions are judged.

    Attributes:
        METRICS: what a reader needs to know of the values that `score` returns; the first picks penalties and ranks.
        WITHIN_CLIPS: whether the mean of each clip is taken from its regressors and targets: only differences inside a
            clip count then.
    """

    METRICS: Mapping[str, Metric]
    WITHIN_CLIPS: bool

    def truth(self, dataset: PreparedDataset, clip_id: str, queries: Sequence[int], pixels: int) -> Truth:
        """Read the ground truth of some queries; tasks that learn from pixels draw at most `pixels` of them.

        Depends on its arguments alone, so that all features are judged by the same samples.
        """
        ...

    def regressors(self, features: NDArray[Any], truth: Truth) -> Floats:
        """Return (n, C), one row per sample, from features (S, h, w, C) of the queries."""
        ...

    def targets(self, truth: Truth) -> Floats:
        """Return (n, K), what a linear map of the regressors is fitted to."""
        ...

    def judge(self, predicted: Floats, truth: Truth) -> Floats:
        """Return (m,), what `score` needs of the predictions (n, K) of one clip."""
        ...

    def score(self, judged: Floats) -> Mapping[str, float]:
        """Return the value of each metric from (clips, m) of `judge`; NaN where undefined."""
        ...


def pooled(features: NDArray[Any]) -> Floats:
    """Return the mean over all queries and cells, (1, C), of features (S, h, w, C)."""
    mean: Floats = features.reshape(-1, features.shape[-1]).mean(axis=0, dtype=np.float64)
    return mean[None]


def at_pixels(features: NDArray[Any], truth: Truth) -> Floats:
    """Return the features (n, C) of the cells that the samples' pixels lie in, from features (S, h, w, C)."""
    assert truth.places is not None
    query, row, column = truth.places.T
    rows, columns, channels = features.shape[1:]
    cell = cells(truth.size, (rows, columns))[row, column]
    found: Floats = features.reshape(len(features), rows * columns, channels)[query, cell].astype(np.float64)
    return found


def load_scout(name: str) -> ScoutPart:
    """Return the file `scout.py` of a task.

    Raises:
        ConfigError: the task has none, or it lacks a name; the message lists the tasks that can be scouted.
    """
    part = load_task(name).part("scout")
    if part is None:
        able = [other for other in task_names() if _has_scout(other)]
        raise ConfigError(
            f"task {name!r} offers nothing that a scout can regress on",
            expected=f"task={' or '.join(able)}" if able else None,
            where=task_file(name).with_name("scout.py"),
            fix="train probes with probe sweep, or write the file as docs/add-a-task.md shows",
        )
    lacking = [known for known in NAMES if not hasattr(part, known)]
    if lacking:
        raise ConfigError(
            f"the scout of task {name!r} lacks {', '.join(lacking)}",
            expected=", ".join(NAMES),
            where=task_file(name).with_name("scout.py"),
            fix="write them as docs/add-a-task.md shows",
        )
    return cast(ScoutPart, part)


def _has_scout(name: str) -> bool:
    try:
        return load_task(name).part("scout") is not None
    except ConfigError:
        return False
