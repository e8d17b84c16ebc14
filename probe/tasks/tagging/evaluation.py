"""Average precision over the clips of a split, per class and in the mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from probe.metrics.score import ClipScore, Variant
from probe.metrics.scores import Scores, number
from probe.module import Batch
from probe.tasks.tagging.chance import random_rankings
from probe.tasks.tagging.jackknife import BUCKETS, tagging_pooled
from probe.tasks.tagging.metrics import tagging_score

KEYS = ("map", "ap_head", "ap_mid", "ap_tail", "mid_ratio", "of1", "cf1")


class TaggingEvaluator:
    """Collects logits and labels; everything is computed once over the pooled split.

    Args:
        class_names: names of the C classes.
        train_rates: (C,) share of training clips that show each class, for the frequency buckets.
        variant: definition of the metrics.
    """

    def __init__(self, class_names: Sequence[str], train_rates: Sequence[float], variant: str) -> None:
        self.class_names, self.rates = tuple(class_names), np.asarray(train_rates, np.float64)
        self.variant = cast(Variant, variant)
        self._scores = Scores()
        self._logits: list[NDArray[np.float64]] = []
        self._labels: list[NDArray[np.float64]] = []

    def add(self, clip_id: str, queries: Sequence[int], outputs: Batch, targets: Batch) -> None:
        """Take `logits` (C,) and `labels` (C,) of a clip."""
        logits, labels = (np.asarray(x, np.float64) for x in (outputs["logits"], targets["labels"]))
        self._logits.append(logits)
        self._labels.append(labels)
        self._scores.clip_ids.append(clip_id)
        # Log loss of the labels in nats per class: the one number a single clip has.
        log_loss = float(np.logaddexp(0, np.where(labels > 0.5, -logits, logits)).mean())
        self._scores.per_clip.append(ClipScore({"log_loss": log_loss}, {"n_positives": int(labels.sum())}))
        self._scores.predictions.append(
            {"clip_id": clip_id, "queries": list(queries), "logits": logits.ravel(), "labels": (labels > 0.5).ravel()}
        )

    def finish(self) -> Scores:
        """Return mAP and its relatives, what they are by room, and one row per class.

        `random_map` is the mAP of random rankings of the same labels, with the band that 95 % of them lie in.
        """
        if not self._logits:
            return self._scores
        logits, labels = np.stack(self._logits), np.stack(self._labels)
        whole = tagging_score(labels, logits, self.rates, variant=self.variant)
        chance = random_rankings(labels > 0.5)

        pooled = {key: whole.values[key] for key in KEYS}
        self._scores.pooled = {**pooled, "random_map": chance.mean}
        buckets = [BUCKETS[index] for index in whole.buckets]
        self._scores.by_room = lambda rooms: tagging_pooled(
            labels > 0.5, logits, self.class_names, buckets, rooms, self.variant
        )
        self._scores.classes = [self._class_row(whole, i) for i in range(len(self.class_names))]
        return self._scores

    def _class_row(self, whole: Any, i: int) -> dict[str, Any]:
        return {
            "name": self.class_names[i],
            "ap": number(whole.ap[i]),
            "f1": number(whole.f1[i]),
            "positives": int(whole.n_positives[i]),
            "train_rate": number(self.rates[i]),
            "bucket": BUCKETS[int(whole.buckets[i])],
        }
