"""Online code length of the labels: how many bits it takes to send them to someone who has the features.

After Voita and Titov (2020): the training clips are cut into blocks of growing size. The first block is sent with a
uniform code, each further block with the code of a probe trained on all blocks before it. A probe that needs few
examples, and not only one that ends up accurate, gives a short code; this tells trained features from random ones where
accuracy alone doesn't.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
from typing import Any

from configs.console import get_logger
from configs.errors import ConfigError
from configs.files import write_atomic
from probe import results
from probe.fitting import fit, resolve_device
from probe.inputs import Inputs, open_inputs, prefix
from probe.plan import RunPlan
from probe.scores import clip_value
from probe.session import Session
from probe.tasks import load_task
from probe.training_pass import ProbePass

BLOCKS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)
"""Shares of the training clips at which blocks end."""

log = get_logger("probe.mdl")


def measure(config: Any, plan: RunPlan, result: dict[str, Any]) -> dict[str, Any]:
    """Add the code length to the result of a finished run, unless it is there already.

    The probes of the code have the run's sizes, seed and number of steps, but the plain log loss (both gammas 0) and
    no choice of checkpoint: a code needs calibrated probabilities and may not look at what it has not sent yet.

    Args:
        config: resolved configuration of the command.
        plan: the run.
        result: its result.

    Returns:
        The result with `mdl`: `bits`, `uniform_bits`, `compression` (uniform over code) and one row per block.

    Raises:
        ConfigError: the task isn't tagging.
    """
    if config.task != "tagging":
        raise ConfigError("mdl=true measures the code length of tags", found=f"task={config.task}", fix="task=tagging")
    if "mdl" in result:
        return result
    result = {**result, "mdl": _measure(plan)}
    write_atomic(results.result_file(config.root, plan.run_id), results.to_json(result))
    results.compact(config.root)
    return result


def _measure(plan: RunPlan) -> dict[str, Any]:
    config = copy.deepcopy(plan.config)
    config.loss.form, config.loss.gamma_negative, config.loss.gamma_positive = "standard", 0.0, 0.0
    config.layers, config.noise, config.loggers = [plan.inputs["array"]], [], []
    (everything,) = open_inputs(config, load_task(config.task))
    clips = everything.train
    parts = {len(part): part for part in (prefix(clips, share, config.data_seed) for share in BLOCKS)}
    ends = sorted(parts)
    classes = len(everything.dataset.class_names)
    blocks: list[dict[str, Any]] = [{"clips": ends[0], "trained_on": 0, "bits": float(ends[0] * classes)}]
    for start, end in itertools.pairwise(ends):
        fresh = sorted(set(parts[end]) - set(parts[start]))
        inputs = dataclasses.replace(everything, train=parts[start], select=fresh, report=fresh)
        bits = _nats(dataclasses.replace(plan, config=config, array=0), inputs) * classes / math.log(2)
        blocks.append({"clips": len(fresh), "trained_on": start, "bits": bits})
        log.info("%d clips after %d: %.1f bits each", len(fresh), start, bits / len(fresh))
    total = sum(block["bits"] for block in blocks)
    uniform = float(len(clips) * classes)
    return {"bits": total, "uniform_bits": uniform, "compression": uniform / total, "blocks": blocks}


def _nats(plan: RunPlan, inputs: Inputs) -> float:
    """Train on `inputs.train`; return the log loss of the labels of `inputs.report`, summed over clips, per class."""
    session = Session(plan.config, inputs, resolve_device(plan.config.device))
    member = session.member(plan)
    data = session.data(inputs.layers, plan.control)
    fit(ProbePass([member], [None], lambda training: None), data, plan.config, session.schedule.rounds)
    scores = session.scores([member], data, inputs.report, full=False)[0]
    return sum(clip_value(score, "log_loss") for score in scores.per_clip)
