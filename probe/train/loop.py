"""Several probes trained side by side on the same batches, as one LightningModule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from configs.errors import NonFiniteError
from probe.module import Batch, pick, usable
from probe.train.member import Member

AfterRound = Callable[["ProbePass"], None]


class ProbePass(L.LightningModule):  # type: ignore[misc]
    """Updates each member on every batch; the members share the data and nothing else.

    Args:
        members: at the same round.
        states: checkpoints to continue from, one per member, or None for a fresh start.
        after_round: called when a round is over: look at the selection split, write checkpoints.
        report: called after each step.
    """

    def __init__(
        self,
        members: Sequence[Member],
        states: Sequence[dict[str, Any] | None],
        after_round: AfterRound,
        report: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members, self._states = list(members), list(states)
        self.modules_of_members = nn.ModuleList(member.module for member in members)
        self.matches = nn.ModuleList(member.match or nn.Identity() for member in members)
        self._after_round, self._report = after_round, report
        self.sums: list[dict[str, Tensor]] = [{} for _ in members]
        self.steps = 0

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        """Return one optimiser and one schedule per member, restored from the checkpoints."""
        optimizers, schedules = [], []
        for member, state in zip(self.members, self._states, strict=True):
            made = member.module.configure_optimizers()
            if state is not None:
                made["optimizer"].load_state_dict(state["optimizer"])
                made["lr_scheduler"]["scheduler"].load_state_dict(state["scheduler"])
            optimizers.append(made["optimizer"])
            schedules.append(made["lr_scheduler"]["scheduler"])
        self._states = [None for _ in self.members]
        return optimizers, schedules

    def training_step(self, batch: Batch, index: int) -> None:
        """Update all members."""
        optimizers, schedules = _as_list(self.optimizers()), _as_list(self.lr_schedulers())
        for i, member in enumerate(self.members):
            features, targets = member.inputs(batch)
            samples = usable(targets)
            if samples:
                if len(samples) < features.shape[0]:
                    features = features[torch.tensor(samples, device=features.device)]
                self._update(i, features, pick(targets, samples), optimizers[i])
            schedules[i].step()
        self.steps += 1
        self._report()

    def _update(self, i: int, features: Tensor, targets: Batch, optimizer: Any) -> None:
        member = self.members[i]
        with _own_random(member, self.device):
            losses = member.module.compute(features, targets)[1]
            optimizer.zero_grad(set_to_none=True)
            self.manual_backward(losses["loss"])
        limit = member.plan.config.recipe.grad_clip
        parameters = [p for p in member.module.probe.parameters() if p.grad is not None]
        norm = nn.utils.clip_grad_norm_(parameters, limit if limit is not None else float("inf"))
        if not bool(torch.isfinite(norm)):
            raise NonFiniteError(
                "training diverged: the gradient is not finite",
                where=f"run {member.run_id} ({member.plan.label}), clips {', '.join(targets['clip_id'])}",
                found=f"loss {float(losses['loss'].detach()):g}",
                fix="lower recipe.lr, or set recipe.grad_clip=1 or recipe.precision=float32",
            )
        optimizer.step()
        sums = self.sums[i]
        for name, value in {**losses, "gradient_norm": norm}.items():
            sums[name] = sums.get(name, torch.zeros((), device=norm.device)) + value.detach()
        sums["updates"] = sums.get("updates", torch.zeros((), device=norm.device)) + 1

    def averages(self, i: int) -> dict[str, float]:
        """Return the mean losses of a member since the last call; read once per round."""
        sums = {name: float(value) for name, value in self.sums[i].items()}
        self.sums[i] = {}
        count = sums.pop("updates", 0.0)
        return {f"train/{name}": value / count for name, value in sums.items()} if count else {}

    def on_train_epoch_end(self) -> None:
        """Hand over to whoever looks after the round."""
        self._after_round(self)

    def save_last(self) -> None:
        """Write the `last` checkpoint of every member."""
        optimizers = _as_list(self.optimizers(use_pl_optimizer=False))
        for member, optimizer, schedule in zip(self.members, optimizers, _as_list(self.lr_schedulers()), strict=True):
            member.save_last(optimizer, schedule)

    def rates(self) -> list[float]:
        """Return the learning rate of the next step of each member."""
        return [float(schedule.get_last_lr()[0]) for schedule in _as_list(self.lr_schedulers())]


class _own_random:
    """Run a block with a member's random state, and keep what it leaves behind."""

    def __init__(self, member: Member, device: torch.device) -> None:
        self.member, self.cuda = member, device if device.type == "cuda" else None

    def __enter__(self) -> None:
        self.outside = torch.get_rng_state()
        torch.set_rng_state(self.member.random)
        if self.cuda is not None:
            if self.member.cuda_random is None:
                generator = torch.Generator(self.cuda).manual_seed(self.member.plan.config.recipe.seed)
                self.member.cuda_random = generator.get_state()
            torch.cuda.set_rng_state(self.member.cuda_random, self.cuda)

    def __exit__(self, *exception: object) -> None:
        self.member.random = torch.get_rng_state()
        torch.set_rng_state(self.outside)
        if self.cuda is not None:
            self.member.cuda_random = torch.cuda.get_rng_state(self.cuda)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
