"""The instance probe as a module: sampled pixels, pull and push, clusters against masks."""

from __future__ import annotations

from torch import Tensor, nn

from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions
from probe.module import Batch, Evaluator, ProbeModule, TargetOptions, Targets
from probe.tasks.instance.config import InstanceOptions
from probe.tasks.instance.evaluation import InstanceEvaluator
from probe.tasks.instance.head import InstanceProbe
from probe.tasks.instance.loss import instance_loss


class Module(ProbeModule[InstanceOptions]):
    """Which pixels of all queries belong to one object."""

    def build(self) -> nn.Module:
        """Return an `InstanceProbe`."""
        return InstanceProbe(self.facts.channels, self.facts.grid, self.options)

    def loss(self, outputs: Batch, targets: Batch) -> dict[str, Tensor]:
        """Return the contrastive loss on the sampled pixels."""
        pixels = {"pixels": targets["coordinates"], "ids": targets["ids"]}
        return instance_loss(outputs, pixels, self.facts.gt_size, self.options.loss)

    @classmethod
    def targets(
        cls, dataset: PreparedDataset, options: InstanceOptions, wanted: TargetOptions, *, evaluation: bool
    ) -> Targets:
        """Return targets with `coordinates` (P, 3) and `ids` (P,); for evaluation also `maps` and `things`."""
        return ClipSamples(
            dataset,
            wanted.clip_ids,
            SampleOptions(
                target="instances",
                pixels=options.loss.pixels,
                balanced=options.loss.balance == "instance",
                with_maps=evaluation,
            ),
            plan=wanted.plan,
            sampler=wanted.sampler,
            n_queries=wanted.n_queries,
            seed=wanted.seed,
            positions=wanted.positions,
        )

    def evaluator(self, variant: str, *, full: bool) -> Evaluator:
        """Return the evaluator; clustering, the slow part, only with `full`."""
        return InstanceEvaluator(self.facts.grid, variant, full=full)
