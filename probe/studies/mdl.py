"""Online code length of the labels: how many bits it takes to send them to someone who has the features.

After Voita and Titov (2020): the training clips are cut into blocks of growing size, of whole rooms. The first block is
sent with a uniform code, each further block with the code of a probe trained on all blocks before it. A probe that
needs few examples, and not only one that ends up accurate, gives a short code; this tells trained features from random
ones where accuracy alone doesn't. As there, a held-out split says when a probe is trained enough; it also says how far
to trust it (temperature scaling, Guo et al. 2017): a probe that has learned a few clips by heart is too sure of itself
for a code.

A uniform code is a weak opponent: most classes are rare, and whoever knows only how rare they are beats it without any
features. The same labels are therefore also sent by someone who knows only the rates of the classes, online and in the
same blocks; what features add is how much shorter the code of the probe is than that one.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from configs.console import get_logger
from probe.inputs.inputs import Inputs, donors, open_inputs, prefix
from probe.module import TargetOptions, load_module
from probe.results import results
from probe.results.results import compressions, has_code
from probe.results.survey import compact
from probe.task import load_task
from probe.train.device import resolve_device
from probe.train.loop import Learner, train_pass, training
from probe.train.plan import RunPlan, code_options
from probe.train.schedule import schedule_of
from probe.train.session import Session

BLOCKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the training clips at which blocks end, as nearly as whole rooms allow."""

log = get_logger("probe.studies.mdl")


def measure(root: str | None, plan: RunPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Add the code length to the result of a finished run, unless it is there already.

    Results of version 0.2.0 hold a code without the one of class rates; it is measured again, in today's blocks.

    The probes of the code have the run's sizes, seed and number of steps, but the plain log loss (both gammas 0), and
    of each the round and the gain of its logits with the least log loss on the selection split are taken: a code
    needs calibrated probabilities. It never looks at what it has not sent yet; the selection split isn't sent.

    Args:
        root: artifact root.
        plan: the run.
        result: its result.

    Returns:
        The result with `mdl`: `bits` of the probes' code, `rate_bits` of the code of class rates, `uniform_bits`,
        `compression` (rates over probes), `uniform_compression` (uniform over probes) and one row per block.

    Raises:
        ConfigError: the task has no code length.
    """
    if has_code(result):
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
    recipe = options.recipe.with_steps(schedule_of(config, everything).total_steps)
    how = dataclasses.replace(config.how, fraction=1.0)  # the recipe's steps, whatever the block
    config = dataclasses.replace(config, how=how, probe=dataclasses.replace(options, recipe=recipe))
    rooms = everything.dataset.rooms
    parts = {len(part): part for part in (prefix(clips, rooms, share, seed) for share in BLOCKS)}
    ends = sorted(parts)
    classes = len(everything.dataset.class_names)
    answers = _answers(dataclasses.replace(plan, config=config), everything)
    first = float(ends[0] * classes)
    blocks: list[dict[str, Any]] = [{"clips": ends[0], "trained_on": 0, "bits": first, "rate_bits": first}]
    for start, end in itertools.pairwise(ends):
        fresh = sorted(set(parts[end]) - set(parts[start]))
        inputs = dataclasses.replace(everything, train=parts[start], report=fresh)
        bits = _nats(dataclasses.replace(plan, config=config, array=0), inputs, clips) / math.log(2)
        known, sent = (np.stack([answers[clip] for clip in part]) for part in (parts[start], fresh))
        by_rates = rate_code(known, sent)
        blocks.append({"clips": len(fresh), "trained_on": start, "bits": bits, "rate_bits": by_rates})
        each = [value / len(fresh) for value in (bits, by_rates)]
        log.info("%d clips after %d: %.1f bits each, %.1f by class rates", len(fresh), start, *each)
    total, rates = (sum(block[key] for block in blocks) for key in ("bits", "rate_bits"))
    found = {"bits": total, "rate_bits": rates, "uniform_bits": float(len(clips) * classes)}
    return {**found, **compressions(found), "blocks": blocks}


def rate_code(known: NDArray[np.bool_], sent: NDArray[np.bool_]) -> float:
    """Return the bits of yes-or-no answers sent with nothing but the rates of those that came before.

    The probability of a yes to question c is (k_c + 1/2) / (n + 1) after k_c of n: the estimate of Krichevsky and
    Trofimov (1981), which is 1/2 before the first answer and never 0 or 1. It stays the same for all that is sent.

    Args:
        known: (n, C) what came before, n >= 0.
        sent: (N, C) what is sent.
    """
    rates = (known.sum(axis=0, dtype=np.float64) + 0.5) / (len(known) + 1)
    return float(-np.log2(np.where(sent, rates, 1 - rates)).sum())


def _answers(plan: RunPlan, inputs: Inputs) -> dict[str, NDArray[np.bool_]]:
    """Return training clip -> (C,) what is sent of it; of a twin, what its donor would send."""
    how, options = plan.config.how, plan.config.probe
    module = load_module(plan.config.task)
    wanted = TargetOptions(
        inputs.train, inputs.plan, how.sampler, options.recipe.queries, how.data_seed, inputs.positions
    )
    targets = module.targets(inputs.dataset, options, wanted, evaluation=True)
    given: Mapping[str, str] = donors(inputs.train, how.data_seed) if plan.control else {}
    return {clip: module.answers(targets.sample(given.get(clip, clip), 0)) for clip in inputs.train}


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
