"""A run before anything of it is built: its configuration, what it reads, and the id that follows from both."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from configs.errors import ConfigError
from configs.identity import digest, plain

VERSION = 5
"""Raised by hand whenever the same configuration would train another probe."""
NOT_IDENTITY = (
    "root", "model", "models", "dataset", "store", "layers", "noise", "seeds", "depths", "control", "mdl", "device",
    "memory", "pictures", "loggers", "force", "resamples",
)  # fmt: skip
"""Options that choose runs, or where and how they run, but change nothing in one of them."""


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run before anything of it is built.

    Attributes:
        config: resolved configuration with one source, one array, one seed and one depth.
        array: index of its array among those of the inputs.
        control: whether it trains on shuffled targets.
        inputs: identity of what it reads.
    """

    config: Any
    array: int
    control: bool
    inputs: Mapping[str, Any]

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
        where = f"{self.config.model}, {self.inputs['array']}"
        return f"{where}, depth {self.depth}, seed {self.config.recipe.seed}{twin}"


def variants(config: Any, arrays: Sequence[tuple[str, str, dict[str, Any]]]) -> list[RunPlan]:
    """Return the runs that a configuration asks for: every array, depth and seed, each with its twin if asked.

    Args:
        config: resolved configuration.
        arrays: source, dataset and identity of the inputs of each array.

    Raises:
        ConfigError: a depth that is no number and not `linear`.
    """
    plans = []
    for index, (source, dataset, inputs) in enumerate(arrays):
        for depth in config.depths or [None]:
            for seed in config.seeds:
                chosen = copy.deepcopy(config)
                chosen.model, chosen.models, chosen.dataset = source, [], dataset
                chosen.layers, chosen.noise, chosen.seeds, chosen.depths = [inputs["array"]], [], [seed], []
                chosen.recipe.seed = seed
                if depth is not None:
                    _set_depth(chosen, depth)
                plans += [
                    RunPlan(chosen, index, twin, inputs) for twin in ((False, True) if config.control else (False,))
                ]
    return list({plan.run_id: plan for plan in plans}.values())


def _set_depth(config: Any, depth: str) -> None:
    if depth == "linear":
        config.readout = "linear"
    elif depth.isdigit():
        config.readout, config.trunk.depth = "probe", int(depth)
    else:
        raise ConfigError("depths takes numbers and linear", found=depth, fix="depths=linear,0,1,2,4")
