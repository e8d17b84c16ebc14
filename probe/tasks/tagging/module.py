"""The tagging probe as a module: labels of the sampled views, asymmetric loss, average precision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from configs.errors import ConfigError
from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions
from probe.metrics.scores import Scores
from probe.module import Batch, Evaluator, ProbeModule, TargetOptions, Targets
from probe.tasks.geometry.head import build_probe
from probe.tasks.tagging.evaluation import KEYS, TaggingEvaluator
from probe.tasks.tagging.loss import tagging_loss
from probe.tasks.tagging.pictures import draw_classes


class TaggingModule(ProbeModule):
    """Which classes the views of a clip show."""

    cheap_metrics = (*KEYS, "log_loss")

    def build(self) -> nn.Module:
        """Return a `TaggingProbe` for the dataset's classes."""
        if not self.facts.class_names:
            raise ConfigError("this dataset has no classes", fix="probe it for geometry, or import it with annotations")
        return build_probe(
            "tagging", self.facts.channels, self.facts.grid, self.options, num_classes=len(self.facts.class_names)
        )

    def loss(self, outputs: Batch, targets: Batch) -> dict[str, Tensor]:
        """Return the asymmetric loss."""
        return tagging_loss(outputs, targets, self.options.loss)

    def draw_split(self, scores: Scores, folder: Path) -> None:
        """Draw the average precision of every class."""
        draw_classes(scores, folder)

    @classmethod
    def targets(cls, dataset: PreparedDataset, options: Any, wanted: TargetOptions, *, evaluation: bool) -> Targets:
        """Return targets with `labels` (C,) of the sampled views."""
        return ClipSamples(
            dataset,
            wanted.clip_ids,
            SampleOptions(task="tagging"),
            plan=wanted.plan,
            sampler=wanted.sampler,
            n_views=wanted.n_views,
            seed=wanted.seed,
            positions=wanted.positions,
        )

    def evaluator(self, variant: str, *, full: bool) -> Evaluator:
        """Return the evaluator; cheap enough to be always full."""
        return TaggingEvaluator(self.facts.class_names, self.facts.train_rates, variant)
