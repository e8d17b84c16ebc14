"""A published probe checkpoint as a finished run of profile paper: tensor names are translated by fixed rules."""

from __future__ import annotations

import dataclasses
import pickle
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import ConfigError, CorruptionError, MissingError, NonFiniteError
from configs.files import sha256_file
from probe.config import ImportConfig
from probe.results import results
from probe.results.write import write_run
from probe.task import Task, load_task
from probe.train.device import resolve_device
from probe.train.plan import plan_runs
from probe.train.session import Session

PREFIX = "probe."

TRUNK: Mapping[str, str] = {
    r"backbone\.input_proj\.0\.(.+)": r"trunk.input_norm.\1",
    r"backbone\.input_proj\.1\.(.+)": r"trunk.input_proj.\1",
    r"backbone\.(camera_token|register_token)": r"trunk.\1",
    r"backbone\.((?:frame|global)_blocks\..+)": r"trunk.\1",
}
"""Names of the part that all probes share; the rest is up to `Task.published_names`."""
ROW = re.compile(r"(.+)\[(\d+)\]")


class StandIn:
    """Replaces every class and function that a checkpoint mentions besides its tensors; does nothing."""

    def __new__(cls, *args: object, **keywords: object) -> StandIn:
        """Accept and forget any arguments."""
        return super().__new__(cls)

    def __init__(self, *args: object, **keywords: object) -> None:
        """Accept and forget any arguments."""

    def __setstate__(self, state: object) -> None:
        """Forget the pickled state."""


def _plain_mapping(*args: object) -> OrderedDict[object, object]:
    """Replace a defaultdict: the reader fills only plain mappings."""
    return OrderedDict()


def read_published(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors under `probe.` of a Lightning checkpoint, without that prefix.

    The file is read with `weights_only=True`. Published files also hold pickled configuration objects of other
    libraries; those become inert stand-ins, so that neither their code nor their libraries are needed.

    Raises:
        MissingError: no such file.
        CorruptionError: not a readable checkpoint, or one that refers to blocked modules.
        ConfigError: no tensors under `probe.`.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError("no such checkpoint", where=path)
    try:
        foreign = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        inert: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
            (_plain_mapping if name == "collections.defaultdict" else StandIn, name) for name in foreign
        ]
        with torch.serialization.safe_globals(inert):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, TypeError, EOFError, pickle.UnpicklingError) as error:
        raise CorruptionError(f"not a readable checkpoint: {error}", where=path) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else {}
    # A module that was compiled before saving has `_orig_mod.` in its names.
    tensors = {name.replace("_orig_mod.", ""): value for name, value in state.items() if isinstance(value, Tensor)}
    found = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
    if not found:
        raise ConfigError(
            "this checkpoint holds no probe", expected=f"tensors named {PREFIX}...", found=_few(tensors), where=path
        )
    return found


def translate(published: Mapping[str, Tensor], task: Task) -> dict[str, Tensor]:
    """Return tensors under the names used here; class heads become one matrix.

    Args:
        published: names after `probe.` -> tensors.
        task: declares the names of its head.

    Raises:
        ConfigError: names that no pattern covers, or class heads with gaps in their numbers.
    """
    patterns = [(re.compile(pattern), text) for pattern, text in {**TRUNK, **task.published_names}.items()]
    state: dict[str, Tensor] = {}
    rows: dict[str, dict[int, Tensor]] = {}
    unknown = []
    for name, tensor in published.items():
        match, text = next(((m, text) for p, text in patterns if (m := p.fullmatch(name))), (None, ""))
        if match is None:
            unknown.append(name)
            continue
        # Published levels count from 1.
        target = re.sub(r"<(\d)>", lambda level: str(int(level[1]) - 1), match.expand(text))
        if row := ROW.fullmatch(target):
            rows.setdefault(row[1], {})[int(row[2])] = tensor.flatten()
        else:
            state[target] = tensor
    if unknown:
        raise ConfigError(
            "tensors with unexpected names",
            found=_few(unknown),
            fix=f"import a checkpoint of the published probe of task={task.name}",
        )
    for target, numbered in rows.items():
        if sorted(numbered) != list(range(len(numbered))):
            raise ConfigError("class heads are missing", expected="numbers without gaps", found=sorted(numbered))
        stacked = torch.stack([numbered[index] for index in range(len(numbered))])
        state[target] = stacked.flatten() if target.endswith("bias") else stacked
    return state


def load_published(probe: nn.Module, task: Task, path: str | Path) -> None:
    """Load a published checkpoint into a probe that was built for the same task, width and depth.

    A convolution of 1x1 pixels becomes a matrix where the probe has one.

    Class embeddings aren't part of published checkpoints: the probe keeps those it was built with. Nothing is
    loaded unless everything fits.

    Raises:
        MissingError, CorruptionError: the file is missing or unreadable.
        ConfigError: missing, unexpected or wrongly shaped tensors; the message names them.
        NonFiniteError: NaN or infinite weights.
    """
    if not task.published_names:
        raise ConfigError(f"no checkpoints of task {task.name!r} are published", fix="leave out import, and train it")
    state, own = translate(read_published(path), task), probe.state_dict()
    for name, tensor in state.items():
        if name in own and own[name].ndim == 2 and tensor.shape[2:] == (1, 1):
            state[name] = tensor.flatten(1)
    if "head.class_embeddings" in own:
        state.setdefault("head.class_embeddings", own["head.class_embeddings"])
    problems = {
        "missing": [name for name in own if name not in state],
        "unexpected": [name for name in state if name not in own],
        "of another shape": [
            f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
            for name in own
            if name in state and state[name].shape != own[name].shape
        ],
    }
    problems = {kind: names for kind, names in problems.items() if names}
    if problems:
        raise ConfigError(
            "this checkpoint belongs to another probe",
            found="; ".join(f"{kind}: {_few(names)}" for kind, names in problems.items()),
            where=path,
            fix="build the probe with profile paper and the task, channels, depth and classes of the checkpoint",
        )
    bad = [name for name, tensor in state.items() if not tensor.isfinite().all()]
    if bad:
        raise NonFiniteError("a checkpoint holds NaN or infinite weights", found=_few(bad), where=path)
    probe.load_state_dict(state, strict=True)


def _few(names: Sequence[str] | Mapping[str, object], limit: int = 12) -> str:
    """Join names, the first few of them in full."""
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + more


def import_checkpoint(config: ImportConfig) -> dict[str, Any]:
    """Load published weights into a probe, score it on select and report, and write it as a finished run.

    Tensors are read with `weights_only=True` and must match the probe's in name and shape, all of them.

    Args:
        config: options of `import`.

    Returns:
        The result, as of a trained run; `imported` says where the weights come from, `steps` is 0.

    Raises:
        MissingError, CorruptionError: the checkpoint can't be read.
        ConfigError: it belongs to another probe, or several layers or seeds are requested.
        SpatialprobeError: as in `probe.train.train.train`.
    """
    path = Path(config.checkpoint).expanduser()
    if not path.is_file():
        raise MissingError("no such checkpoint", where=path)
    planned = plan_runs(config.run)
    plans, what, where = planned.plans, planned.config.what, planned.config.where
    if len(plans) != 1 or what.mdl or what.selectivity:
        raise ConfigError(
            "a checkpoint is one probe on one layer",
            found=", ".join(plan.label for plan in plans),
            fix="choose one layer, and leave out seeds, depths, control, mdl and selectivity",
        )
    inputs = planned.groups[0][0]
    sha256 = sha256_file(path)
    plan = dataclasses.replace(plans[0], inputs={**plans[0].inputs, "imported": sha256})
    known = None if where.force else results.find(where.root, plan.run_id)
    if known is not None:
        return known
    session = Session(planned.config, inputs, resolve_device(where.device))
    member = session.member(plan)
    load_published(member.module.probe, load_task(planned.config.task), path)
    imported = {"imported": {"file": path.name, "sha256": sha256}}
    write_run(member, inputs, imported)
    data = session.data_of([member])
    member.save_best(0, member.selected(session.evaluate_select([member], data)[0]))
    return session.finish([member], data, 0.0, {**imported, "rounds": 0, "steps": 0})[plan.run_id]
