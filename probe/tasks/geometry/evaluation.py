"""Point-map error, depth and pose metrics of clips."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch

from probe.metrics.score import ClipScore, Variant
from probe.metrics.scores import Scores
from probe.module import Batch
from probe.tasks.geometry.metrics.clip import ClipGeometry, geometry_score
from probe.tasks.geometry.pose import decode_pose

KEYS = ("pmap_err", "abs_rel", "auc_30")
PICTURED = 8
"""Clips whose points are kept for pictures; they are too large to keep for all."""


class GeometryEvaluator:
    """Scores each clip at the size of the predicted maps.

    Args:
        variant: definition of the metrics.
        full: False skips all metrics: only the loss is of interest.
    """

    def __init__(self, variant: str, *, full: bool) -> None:
        self.variant, self.full = cast(Variant, variant), full
        self._scores = Scores()

    def add(self, clip_id: str, queries: Sequence[int], outputs: Batch, targets: Batch) -> None:
        """Take `depth` (S, H, W), `points` (S, H, W, 3) and `pose` (S, 9) of a clip, and its targets."""
        self._scores.clip_ids.append(clip_id)
        if not self.full:
            self._scores.per_clip.append(ClipScore())
            return
        if not targets.get("usable", True):
            reason = "no usable geometry: invalid pose, or no depth in query 0"
            self._scores.per_clip.append(ClipScore.without_value(KEYS, reason))
            return
        depth, points = np.asarray(outputs["depth"], np.float64), np.asarray(outputs["points"], np.float64)
        pose = torch.as_tensor(outputs["pose"]).double()
        world_to_camera = decode_pose(pose, (depth.shape[1], depth.shape[2]))[0].numpy()
        true_depth = np.asarray(targets["depth"], np.float64)
        truth = ClipGeometry(
            true_depth,
            np.asarray(targets["points"], np.float64),
            np.asarray(targets["world2cam"], np.float64)[:, :3],
        )
        score = geometry_score(
            ClipGeometry(depth, points, world_to_camera),
            truth,
            confidence=np.asarray(targets["confidence"], np.float64),
            valid=true_depth > 0,
            frame_indices=np.asarray(queries),
            variant=self.variant,
        )
        self._scores.per_clip.append(score)
        row = {
            "clip_id": clip_id,
            "queries": list(queries),
            "shape": list(depth.shape),
            "depth": depth.astype(np.float32).ravel(),
            "world_to_camera": world_to_camera.ravel(),
            "field_of_view": pose.numpy()[:, 7:].ravel(),
        }
        if len(self._scores.predictions) < PICTURED:
            row["_points"] = points.astype(np.float32)
        self._scores.predictions.append(row)

    def finish(self) -> Scores:
        """Return the scores of all clips added."""
        return self._scores
