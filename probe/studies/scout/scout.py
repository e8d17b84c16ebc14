"""`spatialprobe probe scout`: which arrays deserve a trained probe, by ridge regression in closed form.

Fitted on split `train`; `select` picks the penalty and ranks the arrays. Nothing of split `report` is read, so that a
probe trained on what was picked is still reported on clips that no choice has seen.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs import commands
from configs.console import Progress, get_logger
from configs.errors import ConfigError, DatasetError, NonFiniteError
from data.dataset.reader import PreparedDataset
from probe.config import RunConfig, empty_run
from probe.inputs.batches import read_items
from probe.inputs.inputs import Inputs, Layer, open_inputs
from probe.scouting import Floats, ScoutPart, Truth, load_scout
from probe.studies.scout.config import ScoutConfig
from probe.studies.scout.ridge import Gram, Ridge
from probe.task import Task, load_task

PENALTIES = tuple(float(f"{10 ** (step / 2):.12g}") for step in range(-10, 9))
"""Penalties that are compared, on standardised features: half decades from 1e-5 to 1e4."""
QUERIES = 4
"""Queries per clip of a task that the published protocol lacks."""

log = get_logger("probe.studies.scout")


@dataclasses.dataclass(frozen=True)
class Scouted:
    """What one array has shown.

    Attributes:
        layer: the array and its store.
        rows: training samples that it was fitted on.
        clips: clips of split `select` that were judged.
        penalty: the one with the best value of the first metric on `select`; of equals the largest.
        values: metric -> value on `select` with that penalty; NaN where undefined.
        curve: the first metric on `select` for each of `PENALTIES`.
        dual: whether there were fewer samples than channels.
    """

    layer: Layer
    rows: int
    clips: int
    penalty: float
    values: Mapping[str, float]
    curve: tuple[float, ...]
    dual: bool

    @property
    def at_edge(self) -> bool:
        """Whether the penalty is the smallest or largest of all: the best one may lie beyond."""
        return self.penalty in (PENALTIES[0], PENALTIES[-1])


class Scouting(NamedTuple):
    """A finished scout: the task, its metrics' file, the dataset, the plan's name and the arrays, best first."""

    task: Task
    part: ScoutPart
    dataset: str
    plan: str
    arrays: list[Scouted]


def scout(config: ScoutConfig) -> Scouting:
    """Fit, judge and rank all arrays that a command names.

    Args:
        config: options of `scout`.

    Raises:
        ConfigError: a task that can't be scouted, or an impossible fraction.
        DatasetError: no clip of a split has anything to learn from.
        NonFiniteError: features are NaN or infinite; the message names clip and array.
        SpatialprobeError: whatever is wrong with stores or dataset.
    """
    part, task = load_scout(config.task), load_task(config.task)
    groups = open_inputs(_run(config, task), task, many=True, report=False)
    clips = sum(len(inputs.layers) * (len(inputs.train) + len(inputs.select)) for inputs in groups)
    truths: dict[tuple[str, str], Truth] = {}
    found: list[Scouted] = []
    with Progress(clips, f"scout for {task.name}", "clips", log=log) as bar:
        for inputs in groups:
            for layer in inputs.layers:
                bar.note(f"{layer.store.source}, {layer.array.name}")
                found.append(_scouted(_Reading(inputs, layer, part, config.pixels, truths, bar)))
    return Scouting(task, part, groups[0].dataset.name, groups[0].plan.name, ranked(found, part))


def ranked(found: Sequence[Scouted], part: ScoutPart) -> list[Scouted]:
    """Return arrays by the first metric, the best first; undefined ones last, equal ones in the given order."""
    key, metric = next(iter(part.METRICS.items()))
    sign = -1.0 if metric.better == "higher" else 1.0
    return sorted(found, key=lambda one: (math.isnan(one.values[key]), sign * one.values[key]))


def train_commands(found: Scouting, config: ScoutConfig) -> list[str]:
    """Return the commands that train probes on the best arrays, one per source."""
    key = next(iter(found.part.METRICS))
    best = [one for one in found.arrays if not math.isnan(one.values[key])][: config.best]
    arrays: dict[str, list[str]] = {}
    for one in best:
        arrays.setdefault(one.layer.store.source, []).append(one.layer.array.name)
    return [
        commands.probe(
            "sweep", task=found.task.name, model=source, dataset=found.dataset, store=config.store, layers=names,
            root=config.root,
        )
        for source, names in arrays.items()
    ]  # fmt: skip


def _run(config: ScoutConfig, task: Task) -> RunConfig:
    """Return the run whose stores, clips and queries are read."""
    if config.fraction <= 0:
        raise ConfigError("fraction must be above 0", found=config.fraction)
    run = empty_run(task.name)
    recipe = dataclasses.replace(run.probe.recipe, queries=config.queries or task.paper_queries or QUERIES)
    what = dataclasses.replace(
        run.what, model=config.model, dataset=config.dataset, store=config.store, layers=config.layers,
        noise=config.noise,
    )  # fmt: skip
    return dataclasses.replace(
        run,
        what=what,
        how=dataclasses.replace(run.how, split_scheme="standard", fraction=config.fraction),
        where=dataclasses.replace(run.where, root=config.root),
        probe=dataclasses.replace(run.probe, recipe=recipe),
    )


class _Reading(NamedTuple):
    """One array being read: regressors and ground truth, clip by clip."""

    inputs: Inputs
    layer: Layer
    part: ScoutPart
    pixels: int
    truths: dict[tuple[str, str], Truth]
    bar: Progress

    def clips(self, clip_ids: Sequence[str]) -> Iterator[tuple[Floats, Truth]]:
        """Yield regressors (n, C) and truth of each clip that has samples."""
        for clip_id in clip_ids:
            queries = self.inputs.plan.of(clip_id)
            truth = self._truth(self.inputs.dataset, clip_id, queries)
            if len(truth):
                yield self._regressors(clip_id, queries, truth), truth
            self.bar.advance()

    def _truth(self, dataset: PreparedDataset, clip_id: str, queries: Sequence[int]) -> Truth:
        """Return what is known of a clip; read once for all arrays."""
        key = (dataset.name, clip_id)
        if key not in self.truths:
            self.truths[key] = self.part.truth(dataset, clip_id, queries, self.pixels)
        return self.truths[key]

    def _regressors(self, clip_id: str, queries: Sequence[int], truth: Truth) -> Floats:
        store, array = self.layer
        features: Any = store.read(read_items([array], clip_id, queries))[0]
        values: NDArray[np.float32] = features.float().numpy()
        found = self.part.regressors(values, truth)
        if not np.isfinite(found).all():
            raise NonFiniteError(
                "features are NaN or infinite",
                expected="finite numbers",
                found=f"{int((~np.isfinite(found)).sum())} of {found.size}, clip {clip_id}, array {array.name}",
                where=store.where,
                fix=commands.cache("verify"),
            )
        return found


def _scouted(reading: _Reading) -> Scouted:
    inputs, layer, part = reading.inputs, reading.layer, reading.part
    ridge = _fitted(reading)
    judged: list[list[Floats]] = [[] for _ in PENALTIES]
    for regressors, truth in reading.clips(inputs.select):
        if part.WITHIN_CLIPS:
            regressors = regressors - regressors.mean(axis=0)
        for kept, predicted in zip(judged, ridge.predict(regressors, PENALTIES), strict=True):
            kept.append(part.judge(predicted, truth))
    if not judged[0]:
        raise _nothing(inputs, "select")
    values = [part.score(np.stack(kept)) for kept in judged]
    key, metric = next(iter(part.METRICS.items()))
    curve = tuple(float(value[key]) for value in values)
    best = _best(curve, metric.better == "higher")
    return Scouted(layer, ridge.rows, len(judged[0]), PENALTIES[best], values[best], curve, ridge.dual)


def _fitted(reading: _Reading) -> Ridge:
    gram: Gram | None = None
    for regressors, truth in reading.clips(reading.inputs.train):
        targets = reading.part.targets(truth)
        if gram is None:
            gram = Gram(regressors.shape[1], targets.shape[1])
        gram.add(regressors, targets, within=reading.part.WITHIN_CLIPS)
    if gram is None:
        raise _nothing(reading.inputs, "train")
    return gram.solve()


def _nothing(inputs: Inputs, split: str) -> DatasetError:
    return DatasetError(
        f"no clip of split {split} has anything to learn from in its queries",
        expected="at least one sample with ground truth",
        where=inputs.dataset.path,
        fix=commands.data("inspect"),
    )


def _best(curve: Sequence[float], higher: bool) -> int:
    """Return the place of the best value; of equal ones the last, whose penalty is largest; NaN is worst."""
    rated = [-math.inf if math.isnan(value) else value if higher else -value for value in curve]
    return max(range(len(rated)), key=lambda place: (rated[place], place))
