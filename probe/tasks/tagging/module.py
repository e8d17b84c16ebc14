"""The tagging probe as a module: labels of the sampled queries, asymmetric loss, average precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.errors import ConfigError
from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions
from data.dataset.targets import tag_labels
from probe.module import Batch, Evaluator, ProbeModule, TargetOptions, Targets
from probe.tasks.tagging.config import TaggingOptions
from probe.tasks.tagging.evaluation import KEYS, TaggingEvaluator
from probe.tasks.tagging.head import TaggingProbe
from probe.tasks.tagging.loss import tagging_loss


class Module(ProbeModule[TaggingOptions]):
    """Which classes the queries of a clip show."""

    cheap_metrics = (*KEYS, "log_loss")

    def build(self) -> nn.Module:
        """Return a `TaggingProbe` for the dataset's classes."""
        if not self.facts.class_names:
            raise ConfigError("this dataset has no classes", fix="probe it for geometry, or import it with annotations")
        return TaggingProbe(self.facts.channels, self.facts.grid, self.options, len(self.facts.class_names))

    def loss(self, outputs: Batch, targets: Batch) -> dict[str, Tensor]:
        """Return the asymmetric loss."""
        return tagging_loss(outputs, targets, self.options.loss)

    @classmethod
    def targets(
        cls, dataset: PreparedDataset, options: TaggingOptions, wanted: TargetOptions, *, evaluation: bool
    ) -> Targets:
        """Return targets with `labels` (C,) of the sampled queries."""
        return ClipSamples(
            dataset,
            wanted.clip_ids,
            SampleOptions(target="labels"),
            plan=wanted.plan,
            sampler=wanted.sampler,
            n_queries=wanted.n_queries,
            seed=wanted.seed,
            positions=wanted.positions,
        )

    @classmethod
    def rates(cls, dataset: PreparedDataset, clip_ids: Sequence[str]) -> tuple[float, ...]:
        """Return the share of clips that show each class: 200 pixels over all frames, in at least two of them."""
        if not dataset.class_names or not clip_ids:
            return ()
        shown = [
            tag_labels(dataset.class_pixels(c, dataset.positions(c).tolist()), dataset.gt_size(c), min_queries=2)
            for c in clip_ids
        ]
        return tuple(float(rate) for rate in np.stack(shown).mean(axis=0, dtype=np.float64))

    @classmethod
    def margins(cls, predictions: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return (N, C) logits of the true label, present or absent, of every clip and class."""
        logits, labels = (np.stack([row[name] for row in predictions]) for name in ("logits", "labels"))
        return np.where(labels, logits, -logits).astype(np.float64)

    @classmethod
    def answers(cls, target: Batch) -> NDArray[np.bool_]:
        """Return (C,) whether the clip shows each class."""
        return np.asarray(target["labels"]) > 0.5

    def evaluator(self, variant: str, *, full: bool) -> Evaluator:
        """Return the evaluator; cheap enough to be always full."""
        return TaggingEvaluator(self.facts.class_names, self.facts.train_rates, variant)
