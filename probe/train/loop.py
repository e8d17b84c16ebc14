"""The training loop: several probes side by side on the same batches, which share the data and nothing else."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from lightning.fabric import Fabric
from lightning.fabric.plugins import MixedPrecision
from torch import Tensor, nn

from configs.errors import ConfigError, NonFiniteError
from configs.files import runs_path
from configs.machine import keep_freed_memory
from probe.config import RunConfig
from probe.inputs.batches import ProbeData
from probe.metrics.scores import Scores
from probe.module import Batch, pick, usable
from probe.train.evaluate import to_device
from probe.train.member import Member
from probe.train.optim import build_optimizer, build_schedule
from probe.train.schedule import Schedule

AfterRound = Callable[[int, Sequence["Learner"]], None]


def train_pass(
    fabric: Fabric,
    learners: Sequence[Learner],
    data: ProbeData,
    rounds: range,
    after_round: AfterRound,
    on_step: Callable[[], None] = lambda: None,
) -> None:
    """Train probes side by side.

    Args:
        fabric: from `training`.
        learners: the probes, all of them at the first round.
        data: batches of features and targets for all of them.
        rounds: which rounds.
        after_round: called when a round is over, with its number: look at the selection split, write checkpoints.
        on_step: called after each batch.
    """
    for round_ in rounds:
        for batch in data.round(round_):
            # The batch on the host is named until the step is over: buffers are reused when nothing refers to them.
            moved = to_device(batch, fabric.device)
            for learner in learners:
                with fabric.autocast():
                    learner.step(fabric, moved)
            on_step()
        after_round(round_, learners)


class Learner:
    """A probe with what only training needs: optimiser, schedule, and the sums of its losses in a round.

    Args:
        member: the run; its network is moved to the device.
        state: of a `last` checkpoint to continue from; None for a fresh start.
        device: where to train.
    """

    def __init__(self, member: Member, state: dict[str, Any] | None, device: torch.device) -> None:
        self.member = member
        member.module.to(device).train()
        recipe = member.plan.config.probe.recipe
        self.optimizer = build_optimizer(member.module.probe, recipe)
        self.schedule = build_schedule(self.optimizer, recipe, member.module.total_steps)
        if state is not None:
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["scheduler"])
        self.sums: dict[str, Tensor] = {}

    def step(self, fabric: Fabric, batch: Batch) -> None:
        """Update on what can be learned from in a batch; the schedule moves on even if there is nothing.

        Raises:
            NonFiniteError: features, targets or the gradient are not finite; the message names the clips.
        """
        features, targets = self.member.inputs(batch)
        samples = usable(targets)
        if samples:
            if len(samples) < features.shape[0]:
                features = features[torch.tensor(samples, device=features.device)]
            self._update(fabric, features, pick(targets, samples))
        self.schedule.step()

    def _update(self, fabric: Fabric, features: Tensor, targets: Batch) -> None:
        member = self.member
        with _own_random(member, features.device):
            losses = member.module.compute(features, targets)[1]
            self.optimizer.zero_grad(set_to_none=True)
            fabric.backward(losses["loss"])
        limit = member.plan.config.probe.recipe.grad_clip
        parameters = [p for p in member.module.probe.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, limit if limit is not None else float("inf"))
        if not bool(torch.isfinite(norm)):
            raise NonFiniteError(
                "training diverged: the gradient is not finite",
                where=f"run {member.run_id} ({member.plan.label}), clips {', '.join(targets['clip_id'])}",
                found=f"loss {float(losses['loss'].detach()):g}",
                fix="lower recipe.lr, or set recipe.grad_clip=1 or recipe.precision=float32",
            )
        self.optimizer.step()
        for name, value in {**losses, "gradient_norm": norm, "updates": torch.ones_like(norm)}.items():
            self.sums[name] = self.sums.get(name, torch.zeros((), device=norm.device)) + value.detach()

    @property
    def rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.schedule.get_last_lr()[0])

    def averages(self) -> dict[str, float]:
        """Return the mean losses since the last call; read once per round."""
        sums = {name: float(value) for name, value in self.sums.items()}
        self.sums = {}
        count = sums.pop("updates", 0.0)
        return {f"train/{name}": value / count for name, value in sums.items()} if count else {}


class Recorder:
    """What happens after a round: scores on the selection split, the best weights, log rows and `last` checkpoints.

    Args:
        fabric: whose loggers get the rows too.
        schedule: of the runs.
        look: returns the scores of each run on the selection split.
        note: shows a text after the progress bar.
    """

    def __init__(
        self, fabric: Fabric, schedule: Schedule, look: Callable[[], Sequence[Scores]], note: Callable[[str], None]
    ) -> None:
        self.fabric, self.schedule, self.look, self.note = fabric, schedule, look, note

    def __call__(self, round_: int, learners: Sequence[Learner]) -> None:
        """Record a round; runs whose round is not due for a look are logged without scores."""
        every = learners[0].member.plan.config.probe.recipe.select_every
        due = (round_ + 1) % every == 0 or round_ + 1 == self.schedule.rounds
        scores = self.look() if due else [None] * len(learners)
        for learner, found in zip(learners, scores, strict=True):
            member = learner.member
            row: dict[str, Any] = {"round": round_, "step": self.schedule.first_step(round_ + 1), "lr": learner.rate}
            row |= learner.averages()
            if found is not None:
                keys = [*found.pooled, *dict.fromkeys(key for clip in found.per_clip for key in clip.values)]
                row |= {f"select/{key}": found.value(key) for key in keys}
                score = member.selected(found)
                if member.is_better(score):
                    member.save_best(round_, score)
                self.note(f"{member.select} {score:.4g}")
            member.log.add(row)
            values = {f"{member.run_id}/{key}": value for key, value in row.items() if isinstance(value, (int, float))}
            self.fabric.log_dict(values, step=row["step"])
            member.rounds_done = round_ + 1
        for learner in learners:
            learner.member.save_last(learner.optimizer, learner.schedule)


@contextmanager
def training(config: RunConfig, device: torch.device) -> Iterator[Fabric]:
    """Give the block what knows device, precision and loggers of a configuration.

    Raises:
        ConfigError: a logger isn't installed.
        KeyboardInterrupt: the user interrupted; the last whole round is on disk.
    """
    if device.type == "cpu":
        keep_freed_memory()
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning.*")
        # A first batch without anything to learn from moves the schedule, not the weights.
        warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
        fabric = Fabric(
            accelerator=device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            plugins=_Bfloat16("bf16-mixed", device.type) if config.probe.recipe.precision == "bf16-mixed" else None,
            loggers=_loggers(config),
        )
        fabric.launch()
        status = "failed"
        try:
            yield fabric
            status = "success"
        except KeyboardInterrupt:
            advice = "the same command without force=true continues" if config.where.force else ""
            raise KeyboardInterrupt(advice) from None
        finally:
            for logger in fabric.loggers:
                logger.finalize(status)


class _Bfloat16(MixedPrecision):  # type: ignore[misc]
    """Casts a weight again at each use: with a cache, gradients of a weight used twice would add up in bfloat16."""

    def forward_context(self) -> AbstractContextManager[Any]:
        """Return the context of forward and backward pass."""
        return torch.autocast(self.device, dtype=torch.bfloat16, cache_enabled=False)


class _own_random:
    """Run a block with a member's random state, and keep what it leaves behind."""

    def __init__(self, member: Member, device: torch.device) -> None:
        self.member, self.cuda = member, device if device.type == "cuda" else None

    def __enter__(self) -> None:
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.member.random)
        if self.cuda is not None:
            if self.member.cuda_random is None:
                generator = torch.Generator(self.cuda).manual_seed(self.member.plan.config.probe.recipe.seed)
                self.member.cuda_random = generator.get_state()
            torch.cuda.set_rng_state(self.member.cuda_random, self.cuda)

    def __exit__(self, *exception: object) -> None:
        self.member.random = torch.get_rng_state()
        torch.set_rng_state(self.outside)
        if self.cuda is not None:
            self.member.cuda_random = torch.cuda.get_rng_state(self.cuda)


def _loggers(config: RunConfig) -> list[Any]:
    from lightning.pytorch import loggers

    folder = runs_path(config.where.root)
    made: list[Any] = []
    for name in config.where.loggers:
        try:
            if name == "tensorboard":
                made.append(loggers.TensorBoardLogger(str(folder), name="tensorboard", version=""))
            else:
                made.append(loggers.WandbLogger(save_dir=str(folder), project="spatialprobe"))
        except ModuleNotFoundError as error:
            raise ConfigError(f"logger {name} isn't installed: {error}", fix=f"pip install {name}") from error
    return made
