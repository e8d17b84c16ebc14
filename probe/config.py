"""Options of the command line: what every run takes, and the dataclass that joins them with a task's profile."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from configs.cli import Layers, RootConfig
from configs.errors import ConfigError
from configs.loader import closest, known_names
from configs.options import option
from probe.task import Task, load_task, task_file, task_names

SCHEMES = ("standard", "paper")
PROJECTIONS = ("random", "pca")
LOGGERS = ("tensorboard", "wandb")


@dataclasses.dataclass
class MatchOptions:
    """Features brought to a common size when they are read, so that models compare at equal budgets."""

    grid: list[int] = option(help="average the maps down to these rows and columns; empty keeps them", factory=list)
    width: int = option(0, "project the channels to this many; 0 keeps them", minimum=0)
    projection: str = option("pca", "how channels are projected; pca is fitted on training clips", choices=PROJECTIONS)
    seed: int = option(0, "seed of the random projection", minimum=0)


@dataclasses.dataclass
class RunOptions(RootConfig):
    """What every run takes besides the task's own options."""

    task: str = option(help="what to probe for")
    model: str | None = option(None, "whose features; default: the only store there is")
    models: list[str] = option(
        help='several sources at once, such as "wan-t2v-14b qwen3-vl-8b"; the data is read once for all of them',
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
    profile: str = option("auto", "scale and recipe; auto: compact with a GPU, else cpu")
    seeds: list[int] = option(help="seeds of weights and dropout, one probe each", factory=list, minimum=0)
    depths: list[str] = option(
        help="capacity curve: trunk depths, or linear; one probe each; default: the profile's", factory=list
    )
    control: bool = option(False, "also train twins on shuffled targets, and report selectivity")
    mdl: bool = option(False, "also measure the online code length of the labels (tagging)")
    fraction: float = option(1.0, "share of the training clips to learn from", minimum=0.0, maximum=1.0)
    match: MatchOptions = dataclasses.field(default_factory=MatchOptions)
    sampler: str = option("paper", "how views are drawn, in training and for the evaluation plan")
    split_scheme: str | None = option(
        None,
        "standard: select and report apart; paper: one validation set for both; default: by profile",
        choices=SCHEMES,
    )
    variant: str | None = option(None, "definition of the metrics; default: paper for profile paper", choices=SCHEMES)
    data_seed: int = option(0, "seed of batch order, views and sampled pixels, shared by all seeds", minimum=0)
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


@dataclasses.dataclass
class RunsConfig(RootConfig):
    """Options of `runs`."""

    task: str | None = option(None, "only runs of this task")
    model: str | None = option(None, "only runs on features of this source")
    dataset: str | None = option(None, "only runs on this dataset")
    unfinished: bool = option(False, "list interrupted runs instead")


@dataclasses.dataclass
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


@dataclasses.dataclass
class PredictConfig(EvaluateConfig):
    """Options of `predict`."""

    clips: list[str] = option(help="clip ids; default: all of the split", factory=list)
    pictures: int = option(4, "clips to draw", minimum=0)
    out: str | None = option(None, "folder; default: predictions/<dataset>-<split> in the run's folder")


@lru_cache
def run_schema(task: str) -> type:
    """Return the dataclass of a run of a task: `RunOptions` and the task's options side by side."""
    return beside_task_options(RunOptions, task, "Run", __reduce__=_reduce_run)


def beside_task_options(general: type, task: str, word: str, **methods: object) -> type:
    """Return a dataclass of general options and a task's own side by side, named after the task and a word."""
    namespace = {"__doc__": f"{word} of {task}.", **methods}
    return dataclasses.make_dataclass(
        f"{task.title()}{word}", [], bases=(general, load_task(task).options), namespace=namespace
    )


def _reduce_run(run: Any) -> tuple[object, ...]:
    """Send a run to another process by the name of its task: a class that is made at run time can't be found there."""
    return _rebuild_run, (run.task, {field.name: getattr(run, field.name) for field in dataclasses.fields(run)})


def _rebuild_run(task: str, values: dict[str, Any]) -> Any:
    return run_schema(task)(**values)


def train_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the dataclass of `train` and the YAML values below the overrides, for a `task=` and a `profile=`.

    Raises:
        ConfigError: no task, or an unknown task or profile.
    """
    if "task" not in overrides:
        raise ConfigError("task must be given", expected=", ".join(task_names()), fix="add task=...")
    task = load_task(overrides["task"])
    profile = overrides.get("profile", "auto")
    if profile == "auto":
        profile = default_profile()
    if profile not in known_names("profile"):
        raise ConfigError(f"unknown profile {profile!r}", fix=closest(profile, known_names("profile")))
    return Layers(run_schema(task.name), [_profile_values(task, profile)])


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


def finish(config: Any) -> Any:
    """Fill in what depends on other options, in place, and return the configuration."""
    if config.profile == "auto":
        config.profile = default_profile()
    paper = config.profile == "paper"
    config.split_scheme = config.split_scheme or ("paper" if paper else "standard")
    config.variant = config.variant or ("paper" if paper else "standard")
    config.seeds = list(dict.fromkeys(config.seeds or [config.recipe.seed]))
    if config.match.grid and (len(config.match.grid) != 2 or min(config.match.grid) < 1):
        raise ConfigError("match.grid takes rows and columns", found=config.match.grid, fix="match.grid=8,13")
    if config.fraction <= 0:
        raise ConfigError("fraction must be above 0", found=config.fraction)
    return config


def task_options(config: Any) -> Any:
    """Return the task's part of a run's configuration."""
    options = load_task(config.task).options
    return options(**{field.name: getattr(config, field.name) for field in dataclasses.fields(options)})


def default_profile() -> str:
    """Return `compact` on a machine with a GPU driver, else `cpu`; told without importing torch."""
    return "compact" if Path("/proc/driver/nvidia/version").exists() or Path("/dev/kfd").exists() else "cpu"
