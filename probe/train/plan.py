"""Which runs a configuration asks for, which are finished, and which train side by side.

A run's id follows from what it is and what it reads.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from configs.console import get_logger
from configs.errors import ConfigError
from configs.files import artifact_root
from configs.identity import digest, plain
from probe.config import RunConfig, SweepConfig, resolved
from probe.inputs.inputs import Inputs, donors, inputs_identity, open_inputs
from probe.results import results
from probe.task import TaskOptions, load_task, tasks
from probe.train.device import GIB, SHARE, free_memory, resolve_precision
from probe.train.recipe import rescaled

if TYPE_CHECKING:
    import torch

log = get_logger("probe.train.plan")

VERSION = 5
"""Increment whenever the same configuration would train another probe."""


@dataclasses.dataclass(frozen=True)
class RunPlan:
    """A run before anything of it is built.

    Attributes:
        config: resolved configuration with one source, one array, one seed and one depth.
        array: index of its array among those of the inputs.
        control: whether it is a shuffled twin, which learns the targets of other clips.
        inputs: identity of what it reads.
    """

    config: RunConfig
    array: int
    control: bool
    inputs: Mapping[str, Any]

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that changes the outcome, as JSON types."""
        known = {"version": VERSION, "task": self.config.task, "control": self.control, "inputs": self.inputs}
        how = plain(self.config.how)
        if not rescaled(how["fraction"], how["data_budget"], self.config.probe.recipe.unit):
            del how["data_budget"]
        return {**known, **how, **plain(self.config.probe)}

    @property
    def run_id(self) -> str:
        """Sixteen digits of the identity's digest."""
        return digest(self.identity)[:16]

    @property
    def depth(self) -> str:
        """Trunk depth as text, or `linear`."""
        probe = self.config.probe
        return "linear" if probe.readout == "linear" else str(probe.trunk.depth)

    @property
    def label(self) -> str:
        """What distinguishes this run from the others of a pass."""
        twin = ", shuffled targets" if self.control else ""
        where = f"{', '.join(self.config.what.model)}, {self.inputs['array']}"
        return f"{where}, depth {self.depth}, seed {self.config.probe.recipe.seed}{twin}"


@dataclasses.dataclass(frozen=True)
class Planned:
    """What a command is to do.

    Attributes:
        config: resolved.
        groups: runs by what they share: those of one entry use the same queries of the same clips.
    """

    config: RunConfig
    groups: tuple[tuple[Inputs, tuple[RunPlan, ...]], ...]

    @property
    def plans(self) -> list[RunPlan]:
        """All runs, in the order of sources, arrays, depths and seeds, twins after their originals."""
        return [plan for _, group in self.groups for plan in group]


def plan_runs(config: RunConfig, *, many: bool = False) -> Planned:
    """Resolve a configuration, open what it reads, and return the runs that it asks for.

    Args:
        config: as it was typed.
        many: see `probe.inputs.layers.choose_arrays`.

    Raises:
        SpatialprobeError: whatever is wrong with store, dataset or configuration.
    """
    config = resolved(config)
    if config.what.mdl:
        code_options(config)  # refuses a task without a code
    # The hardware decides, and what it decides is part of what a run is.
    precision = resolve_precision(config.probe.recipe.precision, config.where.device)
    recipe = dataclasses.replace(config.probe.recipe, precision=precision)
    config = dataclasses.replace(config, probe=dataclasses.replace(config.probe, recipe=recipe))
    files = config.probe.contents()
    groups = []
    for inputs in open_inputs(config, load_task(config.task), many=many):
        for clips in (inputs.train, inputs.select, inputs.report) if config.what.control else ():
            donors(clips, config.how.data_seed)  # refuses a split that has too few
        arrays = [
            (layer.store.source, inputs.dataset.name, inputs_identity(inputs, layer) | files) for layer in inputs.layers
        ]
        groups.append((inputs, tuple(variants(config, arrays))))
    return Planned(config, tuple(groups))


def code_options(config: RunConfig) -> TaskOptions:
    """Return the options of probes whose log loss is a code length.

    Raises:
        ConfigError: the task has no code length.
    """
    options = config.probe.for_code()
    if options is None:
        able = " or ".join(f"task={task.name}" for task in tasks() if task.has_code)
        raise ConfigError(f"mdl=true: task {config.task!r} has no code length to measure", fix=able or "mdl=false")
    return options


def plan_sweep(config: SweepConfig, *, many: bool = True) -> Planned:
    """Return what a sweep is to do, with a root that workers find which have started in another folder.

    Args:
        config: options of `sweep`.
        many: see `probe.inputs.layers.choose_arrays`.
    """
    where = dataclasses.replace(config.runs.where, root=str(artifact_root(config.runs.where.root)))
    return plan_runs(dataclasses.replace(config.runs, where=where), many=many)


def finished(planned: Planned) -> dict[str, dict[str, Any]]:
    """Return the results of those runs that are finished, by run id; none under `force`."""
    plans, where = planned.plans, planned.config.where
    found = {} if where.force else {plan.run_id: results.find(where.root, plan.run_id) for plan in plans}
    done = {run_id: result for run_id, result in found.items() if result is not None}
    if done:
        log.info("%d of %d runs are finished already; force=true trains them again", len(done), len(plans))
    return done


def something_left(planned: Planned, done: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a run has to be trained, or something more to be measured."""
    return any(plan.run_id not in done or unmeasured(plan, done[plan.run_id]) for plan in planned.plans)


def unmeasured(plan: RunPlan, result: Mapping[str, Any]) -> list[str]:
    """Return the keys of what was asked for besides scores, and is not in the result of a finished run."""
    what, lacking = plan.config.what, []
    if what.mdl and not results.has_code(result):
        lacking.append("mdl")
    if what.selectivity and not plan.control and result.get("control_task", {}).get("draws") != what.control_draws:
        lacking.append("control_task")
    return lacking


def variants(config: RunConfig, arrays: Sequence[tuple[str, str, dict[str, Any]]]) -> list[RunPlan]:
    """Return the runs that a configuration asks for: every array, depth and seed, each with its twin if asked.

    Args:
        config: resolved configuration.
        arrays: source, dataset and identity of the inputs of each array.

    Raises:
        ConfigError: a depth that is neither a number nor `linear`.
    """
    plans = []
    for index, (source, dataset, inputs) in enumerate(arrays):
        what = dataclasses.replace(
            config.what, model=[source], dataset=dataset, layers=[inputs["array"]], noise=[], depths=[]
        )
        depths: list[str | None] = [*config.what.depths]
        for depth in depths or [None]:
            probe = config.probe if depth is None else _with_depth(config.probe, depth)
            for seed in config.what.seeds:
                chosen = dataclasses.replace(
                    config,
                    what=dataclasses.replace(what, seeds=[seed]),
                    probe=dataclasses.replace(probe, recipe=dataclasses.replace(probe.recipe, seed=seed)),
                )
                plans += [
                    RunPlan(chosen, index, twin, inputs)
                    for twin in ((False, True) if config.what.control else (False,))
                ]
    return list({plan.run_id: plan for plan in plans}.values())


def _with_depth(probe: TaskOptions, depth: str) -> TaskOptions:
    if depth == "linear":
        return dataclasses.replace(probe, readout="linear")
    if depth.isdigit():
        return dataclasses.replace(probe, readout="probe", trunk=dataclasses.replace(probe.trunk, depth=int(depth)))
    raise ConfigError("depths takes numbers and linear", found=depth, fix="depths=linear,0,1,2,4")


STATES = 4
"""Numbers kept for each parameter: weight, gradient and both moments of AdamW."""


BUFFERS = 6
"""Batches of features held in memory: three of training and three of evaluation, see `cache.loading.feature_loader`."""


def split_passes(
    plans: Sequence[RunPlan], size_of: Callable[[RunPlan], tuple[int, int]], device: torch.device, memory: float
) -> list[list[RunPlan]]:
    """Cut runs into passes that fit into memory, in order; a run that is too large by itself gets its own pass.

    Args:
        plans: the runs.
        size_of: returns the bytes of a run's states, and of the batches of its array, which runs share.
        device: where they train.
        memory: GiB to spend; 0 takes half of what is free.
    """
    budget = memory * GIB if memory else SHARE * free_memory(device)
    passes: list[list[RunPlan]] = []
    used, layers = 0.0, set[int]()
    for plan in plans:
        own, features = size_of(plan)
        cost = own + (0 if plan.array in layers else features)
        if not passes or used + cost > budget:
            passes.append([])
            used, layers, cost = 0.0, set(), own + features
        passes[-1].append(plan)
        used += cost
        layers.add(plan.array)
    return passes
