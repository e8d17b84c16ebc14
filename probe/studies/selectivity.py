"""Selectivity after Hewitt and Liang (2019): the score on a task minus the score on its control task.

A probe with room to spare scores well on anything, because it remembers which room or object an input shows. Its score
on labels that are random, but the same for all views of a room or object, says how much of that it does. Both probes
are new: they have the run's sizes, seed, recipe and number of steps, learn from the same samples and are scored on the
same other samples of the same rooms or objects, with the weights of the last step, so that nothing is chosen by score.
See `probe.inputs.control_tasks` for the samples and the `control.py` of each task for its labels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from configs.console import Progress, get_logger
from probe.inputs.batches import ProbeData, SideBySide
from probe.inputs.control_tasks import ControlTask, Parts, Unavailable, parts_of
from probe.inputs.inputs import Inputs, open_inputs
from probe.metrics.scores import Scores, clip_values, number
from probe.metrics.statistics import Interval, contrast, estimate_mean, estimate_pooled, interval_of
from probe.module import TargetOptions
from probe.results import results
from probe.results.survey import compact
from probe.task import Metric, known_metrics, load_task
from probe.train.device import resolve_device
from probe.train.evaluate import evaluate_members
from probe.train.loop import Learner, train_pass, training
from probe.train.plan import RunPlan, split_passes
from probe.train.schedule import schedule_of
from probe.train.session import Session

TRUE = "true labels"
"""Name of the probe on the true labels among those of a control task."""

log = get_logger("probe.studies.selectivity")


def measure(root: str | None, plan: RunPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Train the control tasks of a finished run and add its selectivity to its result.

    Args:
        root: artifact root.
        plan: the run; `what.control_draws` says how many control tasks.
        result: its result.

    Returns:
        The result with `control_task`: `draws`, and `unit`, `label`, `clips` (`train`, `held`), `rooms`, `left_out` and
        `metrics` (key -> `true`, `control` of each draw, selectivity as `value` with `low`, `high` and `reason`); where
        there is no control task, `reason` and `fix` instead.
    """
    task, draws = load_task(plan.config.task), plan.config.what.control_draws
    part = task.part("control")
    control = getattr(part, "CONTROL", None)
    if isinstance(control, ControlTask):
        found = _measure(plan, control, draws)
    else:
        found = Unavailable(
            f"task {task.name} declares no control task", "write control.py of the task as docs/add-a-task.md shows"
        )
    if isinstance(found, Unavailable):
        log.warning("selectivity of %s is not available: %s", plan.run_id, found.reason)
        found = {"reason": found.reason, "fix": found.fix}
    result = {**result, "control_task": {"draws": draws, **found}}
    results.write(root, result)
    compact(root)
    return result


def _measure(plan: RunPlan, control: ControlTask, draws: int) -> dict[str, Any] | Unavailable:
    where = dataclasses.replace(plan.config.where, loggers=[])
    config = dataclasses.replace(plan.config, where=where)
    (everything,) = open_inputs(config, load_task(config.task))
    recipe, seed = config.probe.recipe, config.how.data_seed
    parts = parts_of(everything, control.unit, recipe.queries, seed)
    if isinstance(parts, Unavailable):
        return parts
    recipe = recipe.with_steps(schedule_of(config, everything).total_steps)
    how = dataclasses.replace(config.how, fraction=1.0)  # the recipe's steps, whatever the clips
    config = dataclasses.replace(config, how=how, probe=dataclasses.replace(config.probe, recipe=recipe))
    inputs = dataclasses.replace(everything, train=parts.train, select=[], report=parts.held)
    scores = _scores(dataclasses.replace(plan, config=config, array=0), inputs, parts, control, draws)
    true, others = scores[0], scores[1:]
    known = known_metrics(config.task)
    compared = [key for key in control.metrics if key in known]
    return {
        "unit": control.unit,
        "label": control.label,
        "clips": {"train": len(parts.train), "held": len(parts.held)},
        "rooms": len(set(parts.room_of.values())),
        "left_out": control.left_out,
        "metrics": compare(true, others, parts.room_of, {key: known[key] for key in compared}, where.resamples),
    }


def _scores(plan: RunPlan, inputs: Inputs, parts: Parts, control: ControlTask, draws: int) -> list[Scores]:
    """Train the probe on true labels and one per draw; return their scores on the samples kept back."""
    config = plan.config
    session = Session(config, inputs, resolve_device(config.where.device))
    targets = session.module_class.targets
    asked = (config.how.sampler, config.probe.recipe.queries, config.how.data_seed, inputs.positions)
    learned = targets(
        inputs.dataset, config.probe, TargetOptions(parts.train, parts.train_plan, *asked), evaluation=False
    )
    held = targets(inputs.dataset, config.probe, TargetOptions(parts.held, parts.held_plan, *asked), evaluation=True)
    names = {TRUE: None, **{f"draw {draw}": draw for draw in range(draws)}}
    changes = {name: control.relabel(inputs.dataset, parts, learned, draw) for name, draw in names.items()}
    passes = split_passes([plan] * len(names), session.size_of, session.device, config.where.memory)
    scores: list[Scores] = []
    total = session.schedule.total_steps * len(names)
    with Progress(total, f"{config.task}, {draws} control tasks", "steps", log=log) as bar:
        for part in passes:
            chosen = list(names)[len(scores) : len(scores) + len(part)]
            scores += _one_pass(session, part, {name: changes[name] for name in chosen}, learned, held, parts, bar)
    return scores


def _one_pass(
    session: Session,
    plans: Sequence[RunPlan],
    changes: Mapping[str, Any],
    learned: Any,
    held: Any,
    parts: Parts,
    bar: Progress,
) -> list[Scores]:
    """Train probes side by side, one per name of `changes`, and return their scores."""
    config, source = session.config, SideBySide(session.inputs.layers)
    data = ProbeData(source, list(source.arrays.values()), session.schedule, learned, None, changes)
    members = [session.member(plan) for plan in plans]
    for member, name in zip(members, changes, strict=True):
        member.targets, member.place = name, 0
    with training(config, session.device) as fabric:
        learners = [Learner(member, None, fabric.device) for member in members]
        rounds = range(session.schedule.rounds)
        train_pass(fabric, learners, data, rounds, lambda *_: None, lambda: bar.advance(len(members)))
    repeats = len(parts.held_plan.queries[parts.held[0]])
    batches = data.evaluation(parts.held, held, None, repeats)
    precision = config.probe.recipe.precision
    return evaluate_members(members, batches, session.device, full=True, precision=precision)


# ---- from scores to selectivity


def compare(
    true: Scores, controls: Sequence[Scores], rooms: Mapping[str, str], metrics: Mapping[str, Metric], resamples: int
) -> dict[str, dict[str, Any]]:
    """Return metric -> scores on true and random labels, and their difference with its interval.

    The interval is over rooms and draws, which count as seeds do. Both probes are scored on the same clips, so
    differences are paired. With a single draw it is over rooms alone.

    Args:
        true: of the probe on true labels.
        controls: of the control tasks, one or more, on the same clips in the same order.
        rooms: clip -> room.
        metrics: what is known of the metrics, by key.
        resamples: draws of the interval.

    Returns:
        `true`; `control` of each draw; `value`, `low` and `high` of true minus mean control, positive if the
        true labels are easier whichever way the metric points; `clips` and the `reason` for a missing interval.
    """
    groups = [rooms[clip_id] for clip_id in true.clip_ids]
    pooled = [scores.by_room(groups).metrics if scores.by_room else {} for scores in (true, *controls)]
    found = {}
    for key, metric in metrics.items():
        if key in pooled[0]:
            own, others = pooled[0][key], [other[key] for other in pooled[1:]]
            values = np.array([own.estimate - other.estimate for other in others])
            without = np.stack([own.without - other.without for other in others])
            estimate = estimate_pooled(values, without, len(groups))
        else:
            scored = clip_values(true.per_clip, key)
            estimate = estimate_mean(np.stack([scored - clip_values(c.per_clip, key) for c in controls]), groups)
        if metric.better == "lower":
            estimate = contrast([-1.0], [estimate])
        interval = interval_of(estimate, number=resamples)
        found[key] = _row(true.value(key), [scores.value(key) for scores in controls], interval)
    return found


def _row(true: float, control: Sequence[float], interval: Interval) -> dict[str, Any]:
    return {
        "true": number(true),
        "control": [number(value) for value in control],
        "value": number(interval.value),
        "low": number(interval.low),
        "high": number(interval.high),
        "clips": interval.n_clips,
        "reason": interval.reason,
    }
