"""How many rooms, clips and seeds a difference of two models needs, from the variances of finished runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from configs import commands
from configs.console import print_table
from configs.errors import ConfigError, MissingError
from configs.files import results_path
from configs.loader import closest
from probe.metrics.statistics import MIN_ROOMS, MIN_ROOMS_POOLED, Floats, contrast, room_index, room_means
from probe.report.build import CONFIDENCE, SEED
from probe.report.config import PowerConfig
from probe.report.runs.collect import collect
from probe.report.runs.settings import main_settings, settings_of
from probe.report.runs.sources import source_of
from probe.report.runs.stores import store_facts
from probe.report.scores.entries import Entry, entries_of
from probe.report.scores.paired import common_estimates
from probe.task import known_metrics, load_task

LARGEST = 100_000
"""Rooms beyond which the search gives up: the seeds alone are too uncertain."""
QUANTILES = (("typical pair", 0.5), ("variable pair", 0.9))


@dataclass(frozen=True)
class Variances:
    """What the difference of two models varies with, in squared units of the metric.

    Attributes:
        rooms: between rooms; for pooled metrics of the jackknife's values of rooms, with all their clips.
        clips: between clips of a room; 0 for pooled metrics.
        seeds: between seeds, both models together.
    """

    rooms: float
    clips: float
    seeds: float


def power_of(variances: Variances, effect: float, rooms: int, clips: float, seeds: int, alpha: float) -> float:
    """Return the probability that a difference is found, by a test with Satterthwaite's degrees of freedom.

    Args:
        variances: of the difference.
        effect: size of the difference, in the metric's unit.
        rooms, clips, seeds: rooms, clips of each room and seeds of each model, at least two seeds.
        alpha: level of the two-sided test.
    """
    from scipy.stats import nct, t

    of_rooms = (variances.rooms + variances.clips / clips) / rooms
    of_seeds = variances.seeds / seeds
    total = of_rooms + of_seeds
    if not total > 0:
        return 1.0
    dof = total**2 / (of_rooms**2 / (rooms - 1) + of_seeds**2 / (2 * (seeds - 1)))
    return float(nct.sf(t.ppf(1 - alpha / 2, dof), dof, effect / math.sqrt(total)))


def rooms_needed(
    variances: Variances, effect: float, clips: float, seeds: int, *, power: float, alpha: float, least: int
) -> int | None:
    """Return the smallest number of rooms that gives a power; None if no number up to `LARGEST` does.

    Args:
        variances, effect, clips, seeds, alpha: as in `power_of`.
        power: wanted.
        least: rooms below which nothing is tested.
    """

    def enough(rooms: int) -> bool:
        return power_of(variances, effect, rooms, clips, seeds, alpha) >= power

    low, high = least, least
    while not enough(high):
        low, high = high + 1, high * 2
        if high > LARGEST:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


def variances_of(a: Entry, b: Entry, metric: str) -> Variances | None:
    """Return what the difference of two entries varies with; None where a side has one seed or too few rooms."""
    estimates = common_estimates([a, b], metric)
    if isinstance(estimates, str) or len(estimates[0].rooms) < 3 or any(e.single_seed for e in estimates):
        return None
    difference = contrast((1, -1), estimates)
    if math.isnan(difference.value) or np.isnan(difference.rooms).any():
        return None
    seeds = sum(variance * (dof + 1) for variance, dof in difference.others)
    between = float(difference.rooms.var(ddof=1))
    first, second = a.score(metric), b.score(metric)
    assert first is not None and second is not None and a.clips is not None
    if not first.parts:
        return Variances(between, 0.0, seeds)
    each = first.parts[0][1].mean(axis=0) - second.parts[0][1].mean(axis=0)
    return _split(each, room_index(a.clips.rooms), between, seeds)


def _split(values: Floats, rooms: np.ndarray, between: float, seeds: float) -> Variances:
    """Take the variance of room means apart: between rooms, and between clips of a room (analysis of variance)."""
    known = ~np.isnan(values)
    means = room_means(values[None], rooms)[0]
    sizes = np.bincount(rooms[known], minlength=len(means)).astype(np.float64)
    some = sizes > 0
    degrees = float(sizes[some].sum() - some.sum())
    within = float(((values[known] - means[rooms[known]]) ** 2).sum()) / degrees if degrees else 0.0
    return Variances(max(between - within * float((1 / sizes[some]).mean()), 0.0), within, seeds)


def plan_power(config: PowerConfig) -> int:
    """Print how many rooms a difference needs; returns the exit code.

    Raises:
        MissingError: no finished runs of the task, or none with two seeds on both sides of a pair.
        ConfigError: an effect that is none, or an unknown metric.
    """
    task = load_task(config.task)
    metric = config.metric or task.headline
    if metric not in known_metrics(config.task):
        raise ConfigError(f"no metric {metric!r}", where=config.task, fix=closest(metric, known_metrics(config.task)))
    if not config.effect > 0:
        raise ConfigError("a difference to be found is above 0", expected="such as 0.02", found=config.effect)
    entries = _entries(config)
    pairs = [variances_of(a, b, metric) for a, b in itertools.combinations(entries, 2)]
    found = [variances for variances in pairs if variances is not None]
    if not found:
        train = commands.probe("train", task=config.task, model=commands.ANY, seeds="0,1,2", root=config.root)
        raise MissingError(
            "no two models with at least two seeds and three rooms on the same clips",
            found=f"{len(entries)} models of task {config.task}",
            where=results_path(config.root),
            fix=train,
        )
    clips = _clips_per_room(entries[0])
    pooled = found[0].clips == 0 and task.pooled
    least = MIN_ROOMS_POOLED if pooled else MIN_ROOMS
    known = any(variances.clips for variances in found)  # else no room has a second clip to learn from
    options = sorted({1.0, clips, 4.0}) if known and not pooled else [clips]
    rows = []
    for seeds in config.seeds:
        for number in options:
            needed = [
                rooms_needed(
                    _quantile(found, share), config.effect, number, seeds,
                    power=config.power, alpha=config.alpha, least=least,
                )
                for _, share in QUANTILES
            ]  # fmt: skip
            rows.append([seeds, f"{number:g}", *("more seeds" if rooms is None else rooms for rooms in needed)])
    typical = _quantile(found, 0.5)
    shares = ", ".join(
        f"{math.sqrt(value):.3g} between {name}"
        for name, value in (("rooms", typical.rooms), ("clips of a room", typical.clips), ("seeds", typical.seeds))
    )
    print_table(
        f"rooms to report on for a difference of {config.effect:g} in {metric}, power {config.power:g} at level "
        f"{config.alpha:g}",
        ["seeds", "clips per room", *(name for name, _ in QUANTILES)],
        rows,
        notes=[
            f"from {len(found)} pairs of finished runs; standard deviations of a typical difference: {shares}",
            f"with fewer than {least} rooms nothing is tested; for m comparisons ask with alpha={config.alpha:g}/m",
        ],
    )
    return 0


def _entries(config: PowerConfig) -> list[Entry]:
    runs = [run for run in collect(config.root, config.dataset, config.profile).runs if run.task == config.task]
    if not runs:
        raise MissingError(
            f"no finished run of task {config.task}",
            where=results_path(config.root),
            fix=commands.probe("train", task=config.task, model=commands.ANY, seeds="0,1,2", root=config.root),
        )
    known = {
        (run.source, run.store): source_of(
            run.source, store_facts(config.root, str(run.result["dataset"]), run.source, run.store, measure=False)
        )
        for run in runs
    }
    setting = next(iter(main_settings(settings_of(runs)).values()))
    return [entry for entry in entries_of(setting, known, 100, CONFIDENCE, SEED) if entry.chosen]


def _clips_per_room(entry: Entry) -> float:
    assert entry.clips is not None
    return float(np.median(np.bincount(room_index(entry.clips.rooms))))


def _quantile(found: Sequence[Variances], share: float) -> Variances:
    parts = ([getattr(v, name) for v in found] for name in ("rooms", "clips", "seeds"))
    rooms, clips, seeds = (float(np.quantile(values, share)) for values in parts)
    return Variances(rooms, clips, seeds)
