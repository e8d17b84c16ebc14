"""Training of planned runs, in as few passes over the data as memory allows."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from configs.console import Progress, get_logger
from configs.errors import SpatialprobeError
from probe.config import RunConfig
from probe.studies import mdl, selectivity
from probe.train.device import resolve_device
from probe.train.plan import Planned, RunPlan, finished, plan_runs, split_passes, unmeasured
from probe.train.run_folder import folder_of, load_checkpoint
from probe.train.session import Session

log = get_logger("probe.train.train")


def train(config: RunConfig) -> list[dict[str, Any]]:
    """Train and evaluate every run that a configuration asks for; finished ones are returned as they are.

    Args:
        config: options of `train`.

    Returns:
        One result per run, in the order of sources, arrays, depths and seeds, twins after their originals.

    Raises:
        SpatialprobeError: whatever is wrong with store, dataset or configuration, before the first step.
    """
    planned = plan_runs(config)
    return train_rest(planned, finished(planned))


def train_rest(planned: Planned, done: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Train and evaluate the planned runs that are not finished; return the results of all, as `train` does."""
    found = dict(done)
    found |= train_planned(planned, {plan.run_id for plan in planned.plans} - found.keys())[0]
    for plan in planned.plans:
        found[plan.run_id] = measure_rest(plan, found[plan.run_id])
    return [found[plan.run_id] for plan in planned.plans]


def measure_rest(plan: RunPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Measure what was asked for besides scores and is not in the result of a finished run; return the result."""
    for key in unmeasured(plan, result):
        result = {"mdl": mdl.measure, "control_task": selectivity.measure}[key](plan.config.where.root, plan, result)
    return result


def train_planned(
    planned: Planned, pending: Collection[str], *, isolate: bool = False, quiet: bool = False
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Train runs in as few passes over the data as memory allows.

    Args:
        planned: from `plan_runs`.
        pending: ids of the runs to train.
        isolate: go on when a pass fails: its layers are tried one by one, and those that fail again are returned.
        quiet: show no progress.

    Returns:
        run id -> result, and run id -> reason of those that failed.
    """
    if not pending:
        return {}, {}
    config = planned.config
    device = resolve_device(config.where.device)
    passes: list[tuple[Session, list[RunPlan]]] = []
    for inputs, group in planned.groups:
        plans = [plan for plan in group if plan.run_id in pending]
        if plans:
            session = Session(config, inputs, device)
            for same in by_progress(config.where.root, plans, config.where.force):
                parts = split_passes(same, session.size_of, device, config.where.memory)
                passes += [(session, part) for part in parts]
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    total = sum(session.schedule.total_steps * len(plans) for session, plans in passes)
    with Progress(total, f"{config.task} x{len(pending)}", "steps", log=log, quiet=quiet) as bar:
        while passes:
            session, plans = passes.pop(0)
            start = bar.pace.done
            try:
                done |= session.run(plans, bar)
            except SpatialprobeError as error:
                if not isolate:
                    raise
                bar.advance(start - bar.pace.done)
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

    def rounds_done(plan: RunPlan) -> int:
        path = folder_of(root, plan.run_id) / "last.ckpt"
        return 0 if force or not path.is_file() else int(load_checkpoint(path, plan.run_id)["rounds_done"])

    done = {plan.run_id: rounds_done(plan) for plan in plans}
    ordered = sorted(plans, key=lambda plan: -done[plan.run_id])
    return [list(group) for _, group in itertools.groupby(ordered, key=lambda plan: done[plan.run_id])]
