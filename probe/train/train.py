"""`python -m probe train`: from a configuration to finished runs.

What is finished already is found without loading what trains: this module imports no torch by itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from typing import Any

from configs.console import get_logger
from configs.errors import ConfigError, SpatialprobeError
from probe.config import finish
from probe.inputs.inputs import Inputs, donors, inputs_identity, open_inputs
from probe.results import results
from probe.task import load_task
from probe.train.device import resolve_device, resolve_precision
from probe.train.plan import RunPlan, variants

log = get_logger("probe.train.train")

Planned = list[tuple[Inputs, list[RunPlan]]]
"""Runs by what they share: those of one entry look at the same views of the same clips."""


def train(config: Any) -> list[dict[str, Any]]:
    """Train and evaluate every run that a configuration asks for; finished ones are returned as they are.

    Args:
        config: of the dataclass `probe.config.run_schema(task)`.

    Returns:
        One result per run, in the order of sources, arrays, depths and seeds, twins behind their originals.

    Raises:
        SpatialprobeError: whatever is wrong with store, dataset or configuration, before the first step.
    """
    planned = plan_runs(config)
    plans = [plan for _, group in planned for plan in group]
    done = finished(config, plans)
    if done:
        log.info("%d of %d runs are finished already; force=true trains them again", len(done), len(plans))
    done |= train_planned(config, planned, {plan.run_id for plan in plans} - done.keys())[0]
    if config.mdl:
        from probe.studies.mdl import measure

        for plan in plans:
            done[plan.run_id] = measure(config, plan, done[plan.run_id])
    return [done[plan.run_id] for plan in plans]


def plan_runs(config: Any, *, many: bool = False) -> Planned:
    """Resolve a configuration in place, open what it reads, and return the runs that it asks for.

    Args:
        config: as in `train`.
        many: see `probe.inputs.layers.choose_arrays`.

    Raises:
        SpatialprobeError: whatever is wrong with store, dataset or configuration.
    """
    task = load_task(config.task)
    finish(config)
    if config.mdl and task.name != "tagging":
        raise ConfigError("mdl=true measures the code length of tags", found=f"task={task.name}", fix="task=tagging")
    if config.recipe.precision == "auto":  # told by the hardware, and part of what a run is
        config.recipe.precision = resolve_precision("auto", config.device)
    planned = []
    files = config.contents()
    for inputs in open_inputs(config, task, many=many):
        for clips in (inputs.train, inputs.select, inputs.report) if config.control else ():
            donors(clips, config.data_seed)  # refuses a split that has too few
        arrays = [
            (layer.store.source, inputs.dataset.name, inputs_identity(inputs, layer) | files) for layer in inputs.layers
        ]
        planned.append((inputs, variants(config, arrays)))
    return planned


def finished(config: Any, plans: Sequence[RunPlan]) -> dict[str, dict[str, Any]]:
    """Return the results of those runs that are finished, by run id; none under `force`."""
    found = {} if config.force else {plan.run_id: results.find(config.root, plan.run_id) for plan in plans}
    return {run_id: result for run_id, result in found.items() if result is not None}


def train_planned(
    config: Any, planned: Planned, pending: Collection[str], *, isolate: bool = False, quiet: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Train runs in as few passes over the data as memory allows.

    Args:
        config: resolved by `plan_runs`.
        planned: from `plan_runs`.
        pending: ids of the runs to train.
        isolate: go on when a pass fails: its layers are tried one by one, and those that fail again are returned.
        quiet: show no progress.

    Returns:
        run id -> result, and run id -> reason of those that failed.
    """
    if not pending:
        return {}, {}
    from probe.train.memory import split_passes
    from probe.train.progress import StepBar
    from probe.train.session import Session

    device = resolve_device(config.device)
    passes: list[tuple[Session, list[RunPlan]]] = []
    for inputs, group in planned:
        plans = [plan for plan in group if plan.run_id in pending]
        if plans:
            session = Session(config, inputs, device)
            for same in by_progress(config.root, plans, config.force):
                passes += [(session, part) for part in split_passes(session, same, config.memory)]
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    total = sum(session.schedule.total_steps * len(plans) for session, plans in passes)
    with StepBar(total, f"{config.task} x{len(pending)}", quiet=quiet) as bar:
        while passes:
            session, plans = passes.pop(0)
            start = bar.done
            try:
                done |= session.run(plans, bar)
            except SpatialprobeError as error:
                if not isolate:
                    raise
                bar.retract(bar.done - start)
                layers = sorted({plan.array for plan in plans})
                if len(layers) > 1:
                    log.warning("%s\n  the layers of this pass are tried one by one", error)
                    passes[:0] = [(session, [plan for plan in plans if plan.array == layer]) for layer in layers]
                else:
                    failed |= {plan.run_id: str(error) for plan in plans}
    return done, failed


def by_progress(root: str | None, plans: Sequence[RunPlan], force: bool) -> list[list[RunPlan]]:
    """Group runs by how far they are, the furthest first: those in a group train side by side.

    A run is saved before its twin, so that after an interrupt in between it also ends before it.
    """

    from probe.train.run_folder import folder_of, load_checkpoint

    def rounds_done(plan: RunPlan) -> int:
        path = folder_of(root, plan.run_id) / "last.ckpt"
        return 0 if force or not path.is_file() else int(load_checkpoint(path, plan.run_id)["rounds_done"])

    done = {plan.run_id: rounds_done(plan) for plan in plans}
    ordered = sorted(plans, key=lambda plan: -done[plan.run_id])
    return [list(group) for _, group in itertools.groupby(ordered, key=lambda plan: done[plan.run_id])]
