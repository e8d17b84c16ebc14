"""Options of the command line: those of a run, composed of frozen parts, and those of the verbs that read runs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.cli import Layers, RootConfig
from configs.errors import ConfigError
from configs.loader import closest, known_names, resolve
from configs.options import inline, option
from fusion.recipe import UPSAMPLING
from probe.task import Task, TaskOptions, load_task, task_file, task_names, tasks
from probe.train.recipe import BUDGETS

SCHEMES = ("standard", "paper")
LOGGERS = ("tensorboard", "wandb")


@dataclasses.dataclass(frozen=True)
class What:
    """Which runs a command requests; every run has one model, one layer, one seed and one depth of these."""

    model: list[str] = option(
        help='whose features; several sources ("wan-t2v-14b qwen3-vl-8b") share a pass over the data; default: the '
        "only store there is",
        factory=list,
    )
    dataset: str | None = option(None, "prepared dataset; default: the one the store was made from")
    store: str | None = option(None, "folder of the store, or the first digits of its fingerprint")
    layers: list[str] = option(
        help="block numbers, array names, all, paper (those of the paper) or even4 (4 evenly spaced); one probe each; "
        "default: the only array",
        factory=list,
    )
    noise: list[str] = option(
        help="noise levels, as coefficient such as 0.502 or timestep such as t:502; default: every one", factory=list
    )
    seeds: list[int] = option(help="seeds of weights and dropout, one probe each", factory=list, minimum=0)
    depths: list[str] = option(
        help="capacity curve: trunk depths, or linear; one probe each; default: the profile's", factory=list
    )
    control: bool = option(False, "also train shuffled twins, which learn the targets of other clips")
    selectivity: bool = option(
        False, "also train control tasks, whose random labels can only be remembered, and report selectivity"
    )
    control_draws: int = option(3, "draws of the random labels of control tasks", minimum=1)
    mdl: bool = option(False, "also measure the online code length of the labels, if the task has one")


@dataclasses.dataclass(frozen=True)
class How:
    """What changes the outcome of a run of any task: part of its identity."""

    profile: str = option("auto", "scale and recipe; auto: compact with a GPU, else cpu")
    fraction: float = option(1.0, "share of the training clips to learn from, in whole rooms", minimum=0.0, maximum=1.0)
    data_budget: str = option(
        "steps",
        "what a run with fraction below 1 has in common with one on all clips: optimiser steps, or epochs",
        choices=BUDGETS,
    )
    sampler: str = option("paper", "how queries are drawn, in training and for the evaluation plan")
    split_scheme: str = option(
        "auto",
        "standard: select and report apart; paper: one validation set for both; auto: by profile",
        choices=("auto", *SCHEMES),
    )
    variant: str = option(
        "auto", "definition of the metrics; auto: paper for profile paper, else standard", choices=("auto", *SCHEMES)
    )
    data_seed: int = option(0, "seed of batch order, queries and sampled pixels, shared by all seeds", minimum=0)


@dataclasses.dataclass(frozen=True)
class Where:
    """Where and how runs are made, kept and shown; doesn't change any run."""

    root: str | None = option(None, "artifact root; default $SPATIALPROBE_HOME, else ./artifacts")
    resamples: int = option(1000, "bootstrap resamples of the confidence intervals", minimum=1)
    device: str = option("auto", "torch device; auto: a GPU if there is one")
    memory: float = option(
        0.0,
        "GiB for probes that train side by side; more passes over the data if it is less; 0: half of what is free",
        minimum=0,
    )
    pictures: int = option(2, "clips to draw per run", minimum=0)
    loggers: list[str] = option(help="further logs besides CSV and JSON lines", factory=list, choices=LOGGERS)
    force: bool = option(False, "train again although a finished run exists")


NOT_IDENTITY = tuple(field.name for part in (What, Where) for field in dataclasses.fields(part))
"""Options that choose runs, or where and how they run, but don't change any run."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Options of `train`; the parts' keys are typed without a prefix.

    Attributes:
        task: what to probe for.
        what, how, where: options that all tasks share.
        probe: the task's own options.
    """

    task: str = option(help="what to probe for")
    what: What = inline(What)
    how: How = inline(How)
    where: Where = inline(Where)
    probe: TaskOptions = inline(TaskOptions)


@dataclasses.dataclass(frozen=True)
class SweepConfig:
    """Options of `sweep`: those of its runs, whose `layers` and `noise` default to all that the store has."""

    runs: RunConfig = inline(RunConfig)
    cluster: str = option("local", "where probes train: local, or tcp://host:port of a running Dask scheduler")
    workers: int = option(
        0, "processes; 0: local: one per GPU, or one on a machine without; else all of the cluster", minimum=0
    )


@dataclasses.dataclass(frozen=True)
class CurveConfig:
    """Options of `curve`: the axis, its points, and everything else as in `sweep`, on one layer by default."""

    axis: str = option(
        help="capacity: trunk depths of the probe; data: shares of the training rooms; width: channels of the features",
        choices=("capacity", "data", "width"),
    )
    points: list[str] = option(
        help="where on the axis; default: linear,0,1,2,4; or 0.1,0.25,0.5,1; or 16,64,256,1024 and full, the "
        "features' own width",
        factory=list,
    )
    projection: str = option("pca", "how axis=width projects, see docs/fusion.md", choices=("pca", "random"))
    sweep: SweepConfig = inline(SweepConfig)


@dataclasses.dataclass(frozen=True)
class ImportConfig:
    """Options of `import`: those of the run, whose probe must be built as the checkpoint's was."""

    run: RunConfig = inline(RunConfig)
    checkpoint: str = option(help="file of the published probe, a Lightning checkpoint")


@dataclasses.dataclass(frozen=True)
class RunsConfig(RootConfig):
    """Options of `runs`."""

    task: str | None = option(None, "only runs of this task")
    model: str | None = option(None, "only runs on features of this source")
    dataset: str | None = option(None, "only runs on this dataset")
    unfinished: bool = option(False, "list interrupted runs instead")


@dataclasses.dataclass(frozen=True)
class EvaluateConfig(RootConfig):
    """Options of `evaluate`."""

    run: str = option(help="run id, or its first digits")
    split: str = option("report", "which clips", choices=("train", "select", "report"))
    dataset: str | None = option(None, "another dataset with the same classes; default: the run's own")
    store: str | None = option(None, "store of its features; default: the run's, or the one of the same source")
    plan: str | None = option(None, "query plan, such as paper-8-d3; default: the run's")
    variant: str | None = option(None, "definition of the metrics; default: the run's", choices=SCHEMES)
    device: str = option("auto", "torch device; auto: a GPU if there is one")
    resamples: int = option(1000, "bootstrap resamples of the confidence intervals", minimum=1)


@dataclasses.dataclass(frozen=True)
class PredictConfig(EvaluateConfig):
    """Options of `predict`."""

    clips: list[str] = option(help="clip ids; default: all of the split", factory=list)
    pictures: int = option(4, "clips to draw", minimum=0)
    out: str | None = option(None, "folder; default: predictions/<dataset>-<split> in the run's folder")


@dataclasses.dataclass(frozen=True)
class ControlsConfig(RootConfig):
    """Options of `controls`."""

    model: str = option(help='the pair, such as "wan-t2v-14b qwen3-vl-8b"')
    dataset: str = option("rooms", "name of the prepared dataset")
    others: list[str] = option(
        help="further models to join with those of their kind; default: all that have features", factory=list
    )
    variants: list[str] = option(
        help="other ways to fuse the pair", factory=lambda: ["concat", "zscore", "l2", "pca", "sum", "gated"]
    )
    task: list[str] = option(
        help="tasks to write the probe commands for; default: those of the published table that learn no classes",
        factory=lambda: [task.name for task in tasks() if task.published and not task.classes],
    )
    layers: list[str] = option(help="for each model a block, an array name, or all", factory=list)
    grid: str = option(
        "auto", "where branches meet: rows x columns, first, last, a model's name; auto: last if it can be"
    )
    upsample: str = option("native", "see fuse", choices=UPSAMPLING)
    seed: int = option(0, "of noise and random projections", minimum=0)
    probe: str = option("", 'further options of every probe, such as "profile=cpu seeds=0,1"')
    run: bool = option(False, "also train the probes, one after the other")


def train_layers(overrides: Mapping[str, str]) -> Layers[RunConfig]:
    """Return what `train` fills, and the YAML values below the overrides, for a `task=` and a `profile=`.

    Raises:
        ConfigError: no task, or an unknown task or profile.
    """
    start, values = _start(overrides, "auto")
    return Layers(start, [values])


def read_run(words: Mapping[str, str]) -> RunConfig:
    """Return the run that `key=value` words of `train` request; errors as on the command line."""
    layers = train_layers(words)
    return resolve(layers.start, layers.values, words)


def sweep_layers(overrides: Mapping[str, str]) -> Layers[SweepConfig]:
    """Return the same for `sweep`."""
    start, values = _start(overrides, "auto")
    return Layers(SweepConfig(start), [values])


def curve_layers(overrides: Mapping[str, str]) -> Layers[CurveConfig]:
    """Return the same for `curve`."""
    start, values = _start(overrides, "auto")
    return Layers(CurveConfig(sweep=SweepConfig(start)), [values])


def import_layers(overrides: Mapping[str, str]) -> Layers[ImportConfig]:
    """Return the same for `import`; the profile is `paper` by default."""
    start, values = _start(overrides, "paper")
    return Layers(ImportConfig(start), [values])


def empty_run(task: str) -> RunConfig:
    """Return a run of a task with the defaults of all options but those that a profile must give."""
    return RunConfig(probe=load_task(task).options())


def _start(overrides: Mapping[str, str], profile: str) -> tuple[RunConfig, Mapping[str, Any]]:
    """Return a run with its defaults, among them a profile, and the values of the requested profile."""
    if "task" not in overrides:
        raise ConfigError("task must be given", expected=", ".join(task_names()), fix="add task=...")
    start = empty_run(overrides["task"])
    named = overrides.get("profile", profile)
    if named == "auto":
        named = default_profile()
    if named not in known_names("profile"):
        raise ConfigError(f"unknown profile {named!r}", fix=closest(named, known_names("profile")))
    values = _profile_values(load_task(overrides["task"]), named)
    return dataclasses.replace(start, how=dataclasses.replace(start.how, profile=profile)), values


def _profile_values(task: Task, profile: str) -> Mapping[str, Any]:
    try:
        return task.values(profile)
    except KeyError as error:
        if error.args != (profile,):
            raise
    found = []
    for name in known_names("profile"):
        with contextlib.suppress(KeyError):
            task.values(name)
            found.append(name)
    raise ConfigError(
        f"task {task.name!r} has no profile {profile!r}",
        expected=", ".join(found) or "a profile",
        found=f"profile={profile}",
        where=task_file(task.name),
        fix=f"profile={found[0]}" if found else "write its profiles, see docs/add-a-task.md",
    )


def resolved(config: RunConfig) -> RunConfig:
    """Return a configuration with what depends on other options filled in.

    Raises:
        ConfigError: an impossible fraction.
    """
    what, how = config.what, config.how
    if how.fraction <= 0:
        raise ConfigError("fraction must be above 0", found=how.fraction)
    profile = default_profile() if how.profile == "auto" else how.profile
    scheme = "paper" if profile == "paper" else "standard"
    how = dataclasses.replace(
        how,
        profile=profile,
        split_scheme=scheme if how.split_scheme == "auto" else how.split_scheme,
        variant=scheme if how.variant == "auto" else how.variant,
    )
    seeds = list(dict.fromkeys(what.seeds or [config.probe.recipe.seed]))
    return dataclasses.replace(config, what=dataclasses.replace(what, seeds=seeds), how=how)


def default_profile() -> str:
    """Return `compact` on a machine with a GPU driver, else `cpu`; doesn't import torch."""
    return "compact" if Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists() else "cpu"
