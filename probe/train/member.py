"""One run inside a pass: its probe, optimiser, random state, log and best weights so far."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.errors import ConfigError, StaleError
from configs.loader import closest
from fusion.views.view import Unfused
from probe.metrics.scores import Scores
from probe.module import Batch, Facts, ProbeModule, load_module
from probe.train.plan import RunPlan
from probe.train.run_folder import RunLog, load_checkpoint, save_checkpoint


class Member:
    """A run while it trains.

    Its random numbers come from a state of its own that is swapped in around every step, so that a run gives the same
    weights alone and beside others.

    Args:
        plan: what it is.
        run_id: its id, the plan's unless a finished run is applied elsewhere.
        folder: its run folder.
        facts: of the features.
        total_steps: updates of the whole run.
    """

    def __init__(self, plan: RunPlan, run_id: str, folder: Path, facts: Facts, total_steps: int) -> None:
        self.run_id = run_id
        self.plan, self.folder = plan, folder
        recipe = plan.config.probe.recipe
        self.select = recipe.select.rpartition("/")[2].lower()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            module_class = load_module(plan.config.task)
            self.module: ProbeModule[Any] = module_class(plan.config.probe, facts, total_steps)
            self.random = torch.get_rng_state()
        self.cuda_random: Tensor | None = None
        self.place = plan.array
        self.targets = "control" if plan.control else "targets"
        self.rounds_done = 0
        self.best: dict[str, float] = {}
        self.log = RunLog(folder)

    def inputs(self, batch: Batch) -> tuple[Tensor, Batch]:
        """Return its features and targets out of a batch of the pass."""
        features = batch["features"][self.place]
        if isinstance(features, Unfused):
            features = features.fuse()
        return features, batch[self.targets]

    def is_better(self, score: float) -> bool:
        """Return whether a score of the selection metric beats the best so far; NaN only beats having no score."""
        if not self.best:
            return True
        if math.isnan(score) or math.isnan(self.best["score"]):
            return math.isnan(self.best["score"]) and not math.isnan(score)
        mode = self.plan.config.probe.recipe.select_mode
        return score > self.best["score"] if mode == "max" else score < self.best["score"]

    def selected(self, scores: Scores) -> float:
        """Return the value that picks the checkpoint; `loss_pull` and the like name terms of the loss.

        Raises:
            ConfigError: the recipe names a metric that the task doesn't have.
        """
        keys = {*scores.pooled, *(key for clip in scores.per_clip for key in (*clip.values, *clip.undefined))}
        if self.select not in keys:
            raise ConfigError(
                f"recipe.select names no metric of {self.plan.config.task}",
                found=self.select,
                fix=closest(self.select, keys),
            )
        return scores.value(self.select)

    # ---- checkpoints

    def save_best(self, round_: int, score: float) -> None:
        """Keep the present weights as the best."""
        self.best = {"round": round_, "score": score}
        save_checkpoint(self.folder / "best.ckpt", self.run_id, {"weights": self.weights(), **self.best})

    def save_last(self, optimizer: torch.optim.Optimizer, scheduler: Any) -> None:
        """Keep everything that the next round needs."""
        state = {
            "weights": self.weights(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "random": self.random,
            "cuda_random": self.cuda_random,
            "rounds_done": self.rounds_done,
            "best": self.best,
            "log": self.log.rows,
        }
        save_checkpoint(self.folder / "last.ckpt", self.run_id, state)

    def weights(self) -> dict[str, Tensor]:
        """Return the network's state on the CPU."""
        return {name: value.detach().cpu() for name, value in self.module.probe.state_dict().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save_last`; the optimiser is restored by the pass once it exists."""
        self.module.probe.load_state_dict(state["weights"])
        self.random, self.cuda_random = state["random"], state["cuda_random"]
        self.rounds_done, self.best = state["rounds_done"], dict(state["best"])
        self.log.restore(state["log"])

    def load_best(self, fix: str = "", sha256: str = "") -> None:
        """Put the best weights into the network.

        Args:
            fix: see `load_checkpoint`.
            sha256: that the file must have, if given.

        Raises:
            CorruptionError, MissingError, VersionError: as `load_checkpoint`.
            StaleError: another process that trains the same run has replaced them by those of another round.
        """
        path = self.folder / "best.ckpt"
        state = load_checkpoint(path, self.run_id, fix, sha256)
        if self.best and state["round"] != self.best["round"]:
            raise StaleError(
                "these are not the best weights of this run",
                expected=f"round {self.best['round']}",
                found=f"round {state['round']}",
                where=path,
                fix="another process trains the same run: let it finish, then give the same command again",
            )
        self.module.probe.load_state_dict(state["weights"])
