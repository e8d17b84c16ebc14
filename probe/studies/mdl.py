"""Online code length of the labels: how many bits it takes to send them to someone who has the features.

After Voita and Titov (2020): the training clips are cut into blocks of growing size. The first block is sent with a
uniform code, each further block with the code of a probe trained on all blocks before it. A probe that needs few
examples, and not only one that ends up accurate, gives a short code; this tells trained features from random ones where
accuracy alone doesn't. As there, a held-out split says when a probe is trained enough; it also says how far to trust it
(temperature scaling, Guo et al. 2017): a probe that has learned a few clips by heart is too sure of itself for a code.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from configs.console import get_logger
from probe.inputs.inputs import Inputs, donors, open_inputs, prefix
from probe.results import results
from probe.results.survey import compact
from probe.task import load_task
from probe.train.device import resolve_device
from probe.train.loop import Learner, train_pass, training
from probe.train.plan import RunPlan, code_options
from probe.train.recipe import RecipeConfig
from probe.train.schedule import Schedule
from probe.train.session import Session

BLOCKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the training clips at which blocks end."""

log = get_logger("probe.studies.mdl")


def measure(root: str | None, plan: RunPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Add the code length to the result of a finished run, unless it is there already.

    The probes of the code have the run's sizes, seed and number of steps, but the plain log loss (both gammas 0), and
    of each the round and the gain of its logits with the least log loss on the selection split are taken: a code
    needs calibrated probabilities. It never looks at what it has not sent yet; the selection split isn't sent.

    Args:
        root: artifact root.
        plan: the run.
        result: its result.

    Returns:
        The result with `mdl`: `bits`, `uniform_bits`, `compression` (uniform over code) and one row per block.

    Raises:
        ConfigError: the task has no code length.
    """
    if "mdl" in result:
        return result
    result = {**result, "mdl": _measure(plan)}
    results.write(root, result)
    compact(root)
    return result


def _measure(plan: RunPlan) -> dict[str, Any]:
    options, seed = code_options(plan.config), plan.config.how.data_seed
    where = dataclasses.replace(plan.config.where, loggers=[])
    config = dataclasses.replace(plan.config, where=where, probe=options)
    (everything,) = open_inputs(config, load_task(config.task))
    clips = everything.train
    recipe = _with_steps(options.recipe, Schedule(clips, options.recipe, seed).total_steps)
    config = dataclasses.replace(config, probe=dataclasses.replace(options, recipe=recipe))
    parts = {len(part): part for part in (prefix(clips, share, seed) for share in BLOCKS)}
    ends = sorted(parts)
    classes = len(everything.dataset.class_names)
    blocks: list[dict[str, Any]] = [{"clips": ends[0], "trained_on": 0, "bits": float(ends[0] * classes)}]
    for start, end in itertools.pairwise(ends):
        fresh = sorted(set(parts[end]) - set(parts[start]))
        inputs = dataclasses.replace(everything, train=parts[start], report=fresh)
        bits = _nats(dataclasses.replace(plan, config=config, array=0), inputs, clips) / math.log(2)
        blocks.append({"clips": len(fresh), "trained_on": start, "bits": bits})
        log.info("%d clips after %d: %.1f bits each", len(fresh), start, bits / len(fresh))
    total = sum(block["bits"] for block in blocks)
    uniform = float(len(clips) * classes)
    return {"bits": total, "uniform_bits": uniform, "compression": uniform / total, "blocks": blocks}


def _with_steps(recipe: RecipeConfig, steps: int) -> RecipeConfig:
    """Return a recipe as long as the run's for any number of clips: few clips have short epochs."""
    warmup = recipe.warmup * (steps / recipe.length)
    return dataclasses.replace(recipe, warmup=warmup, length=steps, unit="steps", select_every=1)


def _nats(plan: RunPlan, inputs: Inputs, everyone: Sequence[str]) -> float:
    """Train on `inputs.train`; return the log loss of the labels of `inputs.report`, summed over clips and classes.

    Args:
        plan: the run.
        inputs: what is known, what judges the rounds, and what is sent.
        everyone: all training clips, which give twins their labels: a first block may hold a single clip.
    """
    session = Session(plan.config, inputs, resolve_device(plan.config.where.device))
    member = session.member(plan)
    data = session.data(inputs.layers, False)
    data.donors = donors(everyone, plan.config.how.data_seed) if plan.control else None
    best: dict[str, Tensor] = {}
    least, gain = math.inf, 0.0

    def keep_best(round_: int, learners: Sequence[Learner]) -> None:
        nonlocal best, least, gain
        trusted, loss = _calibrated(member.module.margins(session.evaluate_select([member], data)[0].predictions))
        if loss < least:
            least, gain, best = loss, trusted, {name: value.clone() for name, value in member.weights().items()}

    with training(plan.config, session.device) as fabric:
        learner = Learner(member, None, fabric.device)
        train_pass(fabric, [learner], data, range(session.schedule.rounds), keep_best)
    member.module.probe.load_state_dict(best)
    sent = session.scores([member], data, inputs.report, full=False, among=everyone)[0]
    return float(np.logaddexp(0, -gain * member.module.margins(sent.predictions)).sum())


def _calibrated(margins: NDArray[np.float64]) -> tuple[float, float]:
    """Return the gain of the logits that gives the least mean log loss, and that loss; gain 0 is the uniform code."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(lambda gain: np.logaddexp(0, -gain * margins).mean(), bounds=(0, 4), method="bounded")
    return float(found.x), float(found.fun)
