"""Base of the tasks' modules: network, loss, targets and evaluation of one probe."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from configs.errors import ConfigError
from data.dataset.queries import QueryPlan
from data.dataset.reader import PreparedDataset
from probe.metrics.scores import Scores
from probe.net.loss_terms import require_finite
from probe.net.trunk import Trunk
from probe.task import TaskOptions, load_task, task_file

Batch = dict[str, Any]
Options = TypeVar("Options", bound=TaskOptions)


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a probe must know about features and dataset to be built.

    Attributes:
        channels: width of the features it reads.
        grid: their rows and columns.
        gt_size: height and width of the ground truth.
        class_names: names of the dataset's classes.
        train_rates: share of training clips that show each class.
        branches: widths of the branches between which a learned gate decides; () for plain features.
    """

    channels: int
    grid: tuple[int, int]
    gt_size: tuple[int, int]
    class_names: tuple[str, ...] = ()
    train_rates: tuple[float, ...] = ()
    branches: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class TargetOptions:
    """Which clips and queries targets are made for.

    Attributes:
        clip_ids: the clips.
        plan: frozen queries (evaluation); None draws queries (training).
        sampler, n_queries, seed: of drawn queries.
        positions: clip positions that features exist for.
    """

    clip_ids: Sequence[str]
    plan: QueryPlan | None
    sampler: str
    n_queries: int
    seed: int
    positions: Sequence[int]


class Targets(Protocol):
    """Makes the targets of clips; `data.dataset.samples.ClipSamples` is one."""

    def queries(self, clip_id: str, epoch: int) -> tuple[int, ...]:
        """Return the clip positions that the sample of a clip in an epoch looks at."""
        ...

    def sample(self, clip_id: str, epoch: int) -> dict[str, Any]:
        """Return the targets for those queries as tensors; `usable` False leaves the sample out."""
        ...


class Evaluator(Protocol):
    """Turns predictions of single clips into metrics of a split; numpy in float64, outside autocast."""

    def add(self, clip_id: str, queries: Sequence[int], outputs: Batch, targets: Batch) -> None:
        """Take the prediction of one clip and its targets: arrays without a batch axis, floats as float32."""
        ...

    def finish(self) -> Scores:
        """Return the scores of all clips added."""
        ...


class ProbeModule(nn.Module, Generic[Options]):
    """Base of the tasks' modules; several train side by side in `probe.train.loop`.

    Args:
        options: the task's part of the configuration.
        facts: of features and dataset.
        total_steps: updates of the whole run, for the schedule.

    Raises:
        ConfigError: features with a gate for a network without a trunk, which has no place for it.

    Attributes:
        cheap_metrics: metrics that the evaluator returns without `full`, besides losses.
    """

    cheap_metrics: tuple[str, ...] = ()

    def __init__(self, options: Options, facts: Facts, total_steps: int) -> None:
        super().__init__()
        self.options, self.facts, self.total_steps = options, facts, total_steps
        self.probe = self.build()
        if facts.branches:
            trunk = getattr(self.probe, "trunk", None)
            if not isinstance(trunk, Trunk):
                problem = "a linear read-out can't gate"
                raise ConfigError(problem, fix="leave readout=linear out, or use the plain fusion a+b")
            trunk.gate(facts.branches)

    @abstractmethod
    def build(self) -> nn.Module:
        """Return the network, freshly initialised."""

    @abstractmethod
    def loss(self, outputs: Batch, targets: Batch) -> dict[str, Tensor]:
        """Return `loss` and its terms for a batch."""

    @classmethod
    @abstractmethod
    def targets(cls, dataset: PreparedDataset, options: Options, wanted: TargetOptions, *, evaluation: bool) -> Targets:
        """Return what makes the targets; with `evaluation` also what only the metrics need."""

    @abstractmethod
    def evaluator(self, variant: str, *, full: bool) -> Evaluator:
        """Return what scores predictions; without `full` only what is cheap, for picking checkpoints."""

    @classmethod
    def rates(cls, dataset: PreparedDataset, clip_ids: Sequence[str]) -> tuple[float, ...]:
        """Return the share of training clips that show each class, for tasks that learn classes; () by default."""
        return ()

    @classmethod
    def margins(cls, predictions: Sequence[Mapping[str, Any]]) -> NDArray[np.float64]:
        """Return (N, C) logits of the true answers from rows of `Scores.predictions`, for tasks that have a code.

        Raises:
            ConfigError: the task has none.
        """
        raise ConfigError("the task has no code length", fix="leave out mdl=true")

    @classmethod
    def answers(cls, target: Batch) -> NDArray[np.bool_]:
        """Return (C,) the true answers in what `Targets.sample` returns, in the order of `margins`; for the same tasks.

        Raises:
            ConfigError: the task has none.
        """
        raise ConfigError("the task has no code length", fix="leave out mdl=true")

    def forward(self, features: Tensor, queries: Tensor | None = None) -> Batch:
        """Map features (B, S, h, w, C) to predictions; with `trunk.query_time` the queries (B, S) say when."""
        if self.options.trunk.query_time and queries is not None:
            timed: Batch = self.probe(features, self.facts.gt_size, queries)
            return timed
        outputs: Batch = self.probe(features, self.facts.gt_size)
        return outputs

    def one_of(self, outputs: Batch, i: int) -> Batch:
        """Return the predictions of one sample as a batch of one; for outputs whose first axis is the batch."""
        return {name: value[i : i + 1] for name, value in outputs.items()}

    def compute(self, features: Tensor, targets: Batch) -> tuple[Batch, dict[str, Tensor]]:
        """Return predictions and losses of a batch.

        Raises:
            NonFiniteError: features or targets hold NaN or infinite values; the message names the clips.
        """
        floating = {name: value for name, value in targets.items() if isinstance(value, Tensor)}
        require_finite({"features": features, **floating}, ", ".join(targets["clip_id"]))
        outputs = self(features, targets["queries"])
        return outputs, self.loss(outputs, targets)


def usable(targets: Mapping[str, Any]) -> list[int]:
    """Return the samples of a batch that can be learned from."""
    marks = targets.get("usable")
    return [i for i, mark in enumerate(marks) if mark] if marks is not None else list(range(len(targets["clip_id"])))


def pick(values: Batch, samples: Sequence[int]) -> Batch:
    """Return some samples of a batch; all of them without copying."""
    if len(samples) == len(values["clip_id"]):
        return values
    index = list(samples)
    return {
        name: value[torch.tensor(index, device=value.device)]
        if isinstance(value, Tensor)
        else [value[i] for i in index]
        for name, value in values.items()
    }


def heads_precision(stage: Tensor, fp32: bool) -> AbstractContextManager[object]:
    """Leave autocast for the heads that read `stage`, as published, or stay in it."""
    return torch.autocast(stage.device.type, enabled=False) if fp32 else nullcontext()


def load_module(name: str) -> type[ProbeModule[Any]]:
    """Return the module of a task, the class `Module` of its `module.py`.

    Raises:
        ConfigError: the class doesn't exist.
    """
    found = getattr(load_task(name).part("module"), "Module", None)
    if not (isinstance(found, type) and issubclass(found, ProbeModule)):
        raise ConfigError(
            f"task {name!r} has no module",
            expected="class Module(ProbeModule)",
            found=repr(found),
            where=task_file(name).with_name("module.py"),
            fix="write it as docs/add-a-task.md shows",
        )
    return found
