"""One run inside a pass: its probe, optimiser, random state, log and best weights so far."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from configs.identity import digest, plain
from fusion.deferred import fused
from probe import checkpoints
from probe.config import task_options
from probe.log import RunLog
from probe.matching import Match
from probe.module import Batch, Facts, ProbeModule
from probe.tasks import load_task

VERSION = 1
"""Raised by hand whenever the same configuration would train another probe."""
NOT_IDENTITY = (
    "root", "model", "dataset", "store", "layers", "seeds", "depths", "control", "mdl", "device", "pictures",
    "loggers", "force", "resamples",
)  # fmt: skip
"""Options that choose runs, or where and how they run, but change nothing in one of them."""


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run before anything of it is built.

    Attributes:
        config: resolved configuration with one seed, one depth and one array.
        array: index of its array in the pass.
        control: whether it trains on shuffled targets.
        inputs: identity of what it reads.
    """

    config: Any
    array: int
    control: bool
    inputs: dict[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the outcome, as JSON types."""
        options = {k: v for k, v in plain(self.config).items() if k not in NOT_IDENTITY}
        return {"version": VERSION, "control": self.control, "inputs": self.inputs, **options}

    @property
    def run_id(self) -> str:
        """Sixteen digits of the identity's digest."""
        return digest(self.identity)[:16]

    @property
    def depth(self) -> str:
        """Trunk depth as text, or `linear`."""
        return "linear" if self.config.readout == "linear" else str(self.config.trunk.depth)

    @property
    def label(self) -> str:
        """What tells this run from the others of a pass."""
        twin = ", shuffled targets" if self.control else ""
        return f"{self.inputs['array']}, depth {self.depth}, seed {self.config.recipe.seed}{twin}"


def variants(config: Any, arrays: list[dict[str, Any]]) -> list[RunPlan]:
    """Return the runs that a configuration asks for: every array, depth and seed, each with its twin if asked.

    Args:
        config: resolved configuration.
        arrays: identity of the inputs of each array.

    Raises:
        ConfigError: a depth that is no number and not `linear`.
    """
    plans = []
    for index, inputs in enumerate(arrays):
        for depth in config.depths or [None]:
            for seed in config.seeds:
                chosen = copy.deepcopy(config)
                chosen.recipe.seed = seed
                if depth is not None:
                    _set_depth(chosen, depth)
                plans += [
                    RunPlan(chosen, index, twin, inputs) for twin in ((False, True) if config.control else (False,))
                ]
    return list({plan.run_id: plan for plan in plans}.values())


def _set_depth(config: Any, depth: str) -> None:
    from configs.errors import ConfigError

    if depth == "linear":
        config.readout = "linear"
    elif depth.isdigit():
        config.readout, config.trunk.depth = "probe", int(depth)
    else:
        raise ConfigError("depths takes numbers and linear", found=depth, fix="depths=linear,0,1,2,4")


class Member:
    """A run while it trains.

    Its random numbers come from a state of its own that is swapped in around every step, so that a run gives the same
    weights alone and beside others.

    Args:
        plan: what it is.
        run_id: its id, the plan's unless a finished run is applied elsewhere.
        folder: its run folder.
        facts: of the features as the probe sees them, after matching.
        total_steps: updates of the whole run.
        match: transformation of the features.
    """

    def __init__(
        self, plan: RunPlan, run_id: str, folder: Path, facts: Facts, total_steps: int, match: Match | None
    ) -> None:
        self.run_id = run_id
        self.plan, self.folder, self.match = plan, folder, match
        recipe = plan.config.recipe
        self.select = recipe.select.rpartition("/")[2].lower()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            module_class = load_task(plan.config.task).module()
            self.module: ProbeModule = module_class(task_options(plan.config), facts, total_steps)
            self.random = torch.get_rng_state()
        self.cuda_random: Tensor | None = None
        self.place = plan.array
        self.rounds_done = 0
        self.best: dict[str, float] = {}
        self.log = RunLog(folder)

    def inputs(self, batch: Batch) -> tuple[Tensor, Batch]:
        """Return its features and targets out of a batch of the pass."""
        features = fused(batch["features"][self.place])
        return (features if self.match is None else self.match(features)), batch[
            "control" if self.plan.control else "targets"
        ]

    def is_better(self, score: float) -> bool:
        """Return whether a score of the selection metric beats the best so far; NaN beats nothing but nothing."""
        if not self.best:
            return True
        if math.isnan(score) or math.isnan(self.best["score"]):
            return math.isnan(self.best["score"]) and not math.isnan(score)
        mode = self.plan.config.recipe.select_mode
        return score > self.best["score"] if mode == "max" else score < self.best["score"]

    # ---- checkpoints

    def save_best(self, round_: int, score: float) -> None:
        """Keep the present weights as the best."""
        self.best = {"round": round_, "score": score}
        match = {} if self.match is None else {name: value.cpu() for name, value in self.match.state_dict().items()}
        checkpoints.save(
            self.folder / "best.ckpt", self.run_id, {"weights": self.weights(), "match": match, **self.best}
        )

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
        checkpoints.save(self.folder / "last.ckpt", self.run_id, state)

    def weights(self) -> dict[str, Tensor]:
        """Return the network's state on the CPU."""
        return {name: value.detach().cpu() for name, value in self.module.probe.state_dict().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `save_last`; the optimiser is restored by the pass once it exists."""
        self.module.probe.load_state_dict(state["weights"])
        self.random, self.cuda_random = state["random"], state["cuda_random"]
        self.rounds_done, self.best = state["rounds_done"], dict(state["best"])
        self.log.restore(state["log"])

    def load_best(self) -> None:
        """Put the best weights into the network, and the projection that they were trained with into the matching."""
        state = checkpoints.load(self.folder / "best.ckpt", self.run_id)
        self.module.probe.load_state_dict(state["weights"])
        if self.match is not None:
            self.match.load_state_dict(state["match"])
