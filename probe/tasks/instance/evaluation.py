"""T-mIoU and T-SR of clips, next to what the grid of the features allows at best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from probe.metrics.score import ClipScore, Variant
from probe.metrics.scores import Scores
from probe.module import Batch
from probe.tasks.instance.ceiling import grid_ceiling
from probe.tasks.instance.clustering import score_embeddings


class InstanceEvaluator:
    """Clusters the embeddings of each clip and scores the clusters against the masks.

    Args:
        grid: rows and columns of the embeddings.
        variant: definition of the metrics.
        full: False skips clustering: only the loss is of interest.
    """

    def __init__(self, grid: tuple[int, int], variant: str, *, full: bool) -> None:
        self.grid, self.variant, self.full = grid, cast(Variant, variant), full
        self._scores = Scores()

    def add(self, clip_id: str, queries: Sequence[int], outputs: Batch, targets: Batch) -> None:
        """Take `embeddings` (S, E, h, w), instance `maps` (S, H, W) and `things` (N + 1,) of a clip."""
        self._scores.clip_ids.append(clip_id)
        if not self.full:
            self._scores.per_clip.append(ClipScore())
            return
        embeddings = np.asarray(outputs["embeddings"], np.float64).transpose(0, 2, 3, 1)
        truth, things = np.asarray(targets["maps"]), np.flatnonzero(np.asarray(targets["things"]))
        score, labels = score_embeddings(embeddings, truth, things=things, variant=self.variant)
        ceiling = grid_ceiling(truth, self.grid, things=things, variant=self.variant)
        best = ClipScore(
            {f"{key}_ceiling": value for key, value in ceiling.values.items()},
            undefined={f"{key}_ceiling": why for key, why in ceiling.undefined.items()},
        )
        self._scores.per_clip.append(score | best)
        self._scores.predictions.append(
            {"clip_id": clip_id, "queries": list(queries), "shape": list(labels.shape), "clusters": labels.ravel()}
        )

    def finish(self) -> Scores:
        """Return the scores of all clips added."""
        return self._scores
