"""The geometry probe as a module: depth, points and cameras relative to query 0."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from data.dataset.reader import PreparedDataset
from data.dataset.samples import ClipSamples, SampleOptions
from probe.module import Batch, Evaluator, ProbeModule, TargetOptions, Targets
from probe.net.dpt import output_size
from probe.tasks.geometry.config import GeometryOptions
from probe.tasks.geometry.evaluation import GeometryEvaluator
from probe.tasks.geometry.head import GeometryProbe
from probe.tasks.geometry.loss import geometry_loss
from probe.tasks.geometry.pose import encode_pose


class Module(ProbeModule[GeometryOptions]):
    """Depth, point maps in the first camera's frame, and cameras."""

    def build(self) -> nn.Module:
        """Return a `GeometryProbe`."""
        return GeometryProbe(self.facts.channels, self.facts.grid, self.options, self.facts.gt_size)

    def loss(self, outputs: Batch, targets: Batch) -> dict[str, Tensor]:
        """Return points, depth and camera terms."""
        with torch.autocast(targets["depth"].device.type, enabled=False):
            pose = encode_pose(targets["world2cam"], targets["intrinsics"], targets["depth"].shape[-2:])
        # Teachers of the published study know every pixel; where a sensor saw nothing there is nothing to learn.
        known = targets["depth"] > 0
        return geometry_loss(outputs, {**targets, "mask": known, "pose": pose}, self.options.loss)

    def one_of(self, outputs: Batch, i: int) -> Batch:
        """Return the predictions of one sample as a batch of one; the camera's iterations come before the batch."""
        alone = {name: value for name, value in outputs.items() if name != "pose_steps"}
        return {**super().one_of(alone, i), "pose_steps": outputs["pose_steps"][:, i : i + 1]}

    @classmethod
    def targets(
        cls, dataset: PreparedDataset, options: GeometryOptions, wanted: TargetOptions, *, evaluation: bool
    ) -> Targets:
        """Return targets at the size that the probe predicts."""
        sizes = {dataset.gt_size(clip_id) for clip_id in wanted.clip_ids}
        size = output_size(sorted(sizes)[0], options.dpt.output_scale) if sizes else None
        return ClipSamples(
            dataset,
            wanted.clip_ids,
            SampleOptions(target="geometry", size=size),
            plan=wanted.plan,
            sampler=wanted.sampler,
            n_queries=wanted.n_queries,
            seed=wanted.seed,
            positions=wanted.positions,
        )

    def evaluator(self, variant: str, *, full: bool) -> Evaluator:
        """Return the evaluator; without `full` only the loss is of interest."""
        return GeometryEvaluator(variant, full=full)
