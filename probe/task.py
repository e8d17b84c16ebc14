"""What a task is: its options, metrics and parts, found by name; loads no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Self

from configs.console import get_logger
from configs.errors import ConfigError
from configs.loader import closest, load_named
from configs.options import option
from configs.plugins import open_package
from probe.net.config import READOUTS, TrunkConfig
from probe.train.recipe import RecipeConfig

PACKAGE = "probe.tasks"
"""Package of the tasks' folders, to which plug-ins add theirs."""


@dataclass(frozen=True)
class Metric:
    """What a reader needs to know to read a number.

    Attributes:
        title: name in tables and figures.
        better: `higher` or `lower` values are better.
        unit: unit of the stored number.
        low: smallest possible value.
        high: largest possible value; None when unbounded.
        header: name as a column of main tables; empty for metrics that are shown elsewhere only.
        scale: factor from the stored to the printed unit.
        decimals: printed digits after the decimal point.
        diagnostic: only shown: not tested, and no selectivity is computed.
        bounds: key of the metric whose chance level or best possible value this is; it is printed
            beside that one.
    """

    title: str
    better: Literal["higher", "lower"]
    unit: str = "fraction"
    low: float = 0.0
    high: float | None = 1.0
    header: str = ""
    scale: float = 1.0
    decimals: int = 3
    diagnostic: bool = False
    bounds: str = ""


@dataclass(frozen=True)
class Bins:
    """Metrics that give one quantity in bins; the report shows them as a table and a curve of their own.

    Attributes:
        table: name of the table.
        title: its heading.
        about: what it says, in a sentence.
        prefix: what the keys of these metrics begin with, those of their summaries too.
        labels: key -> what the bin holds, in the order of the bins.
        quantity: what is averaged in each bin, for a sentence.
        by: what the bins divide, for a heading.
        axis: the same at length, below a curve.
        metric: key of the metric whose name, unit and direction the values have.
    """

    table: str
    title: str
    about: str
    prefix: str
    labels: Mapping[str, str]
    quantity: str
    by: str
    axis: str
    metric: str


@dataclass(frozen=True)
class TaskOptions:
    """What every task's profile sets; a task adds its own groups."""

    readout: str = option("probe", "trunk and head, or one linear layer on the features", choices=READOUTS)
    heads_fp32: bool = option(False, "run the heads without autocast, as published")
    trunk: TrunkConfig = field(default_factory=TrunkConfig)
    recipe: RecipeConfig = field(default_factory=RecipeConfig)

    def contents(self) -> dict[str, str]:
        """Return the digests of files that options name: the content of a path can change.

        Raises:
            MissingError: the file doesn't exist.
        """
        return {}

    def for_code(self) -> Self | None:
        """Return the options of probes whose log loss is a code length; None if the task has no such code."""
        return None


def profile_section(task: str) -> Callable[[str], Mapping[str, Any]]:
    """Return the usual `Task.values`: the section of a profile in configs/profile that is named after the task."""

    def values(profile: str) -> Mapping[str, Any]:
        values = load_named("profile", profile)
        if task not in values:
            raise KeyError(profile)
        section = values[task]
        assert isinstance(section, Mapping)
        return section

    return values


@dataclass(frozen=True)
class Task:
    """One task, described without torch; its parts are files of its folder.

    Attributes:
        name: the folder's name, what the user types as `task=`.
        options: dataclass of everything that a profile sets: `TaskOptions` and the task's own groups.
        values: from the name of a profile to the YAML values that fill `options`; KeyError of that name for a profile
            that the task does not have.
        label_column: column of the dataset's index that says whether a clip has ground truth for the task.
        metrics: what a reader needs to know of the task's metrics, by key, in the order in which they are shown.
        headline: main metric, shown in lists of runs, used to choose layers, and compared by paired tests.
        title: name in tables and figures; default `name`.
        order: place in tables; tasks of the same order are sorted by name.
        pooled: whether the metrics rank the clips of a split against each other, so that no clip has a value of its
            own. The file `resampled.py` then computes them under resamples of the clips: `COLUMNS` names the columns
            of predictions that it reads, `fits(rows, result)` says whether rows belong to a run's result, and
            `samples(rows, result, counts)` returns the values and those of each class.
        classes: whether a probe learns the dataset's classes, so that it can't be applied to a dataset with others.
        paper_queries: queries per clip of the published protocol; 0 for a task that the published table lacks.
        published_names: pattern of a name in the published checkpoints of the task, after `probe.` -> name here, for
            what its head adds to the trunk; empty for a task without such checkpoints. The first pattern that matches
            the whole name counts; `<n>` counts from 1 what is counted from 0 here, `name[n]` is row n of a matrix.
        bins: metrics in bins that the report shows apart.
        scatter: panels of the report's scatter: a column of another task to the right, one of this task upwards. A
            source needs the tasks of the first panel to be shown.
    """

    name: str
    options: type[TaskOptions]
    values: Callable[[str], Mapping[str, Any]]
    label_column: str
    metrics: Mapping[str, Metric]
    headline: str
    title: str = ""
    order: int = 100
    pooled: bool = False
    classes: bool = False
    paper_queries: int = 0
    published_names: Mapping[str, str] = field(default_factory=dict)
    bins: tuple[Bins, ...] = ()
    scatter: tuple[tuple[str, str], ...] = ()

    @property
    def has_code(self) -> bool:
        """Whether probes of the task give a code length: its options define `for_code`."""
        return self.options.for_code is not TaskOptions.for_code

    @property
    def published(self) -> bool:
        """Whether the published table has the task."""
        return self.paper_queries > 0

    def part(self, name: str) -> ModuleType | None:
        """Import and return a file of the task's folder such as `module`; None if it has no such file."""
        module = f"{PACKAGE}.{self.name}.{name}"
        return import_module(module) if find_spec(module) else None


def task_names() -> list[str]:
    """Return the names of all tasks, sorted: the folders of `probe.tasks`, here and in plug-ins."""
    return sorted({path.parent.name for folder in open_package(PACKAGE) for path in folder.glob("*/__init__.py")})


def task_file(name: str) -> Path:
    """Return the file that declares a task of `task_names`."""
    return _task_files(name)[0]


def _task_files(name: str) -> list[Path]:
    files = [folder / name / "__init__.py" for folder in open_package(PACKAGE)]
    return [file for file in files if file.is_file()]


def load_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        ConfigError: the folder doesn't exist (the message names the closest), exists twice, or can't be imported.
    """
    files = _task_files(name)
    if not files:
        raise ConfigError(f"unknown task {name!r}", where="task", fix=closest(name, task_names()))
    if len(files) > 1:
        places = ", ".join(str(file.parent) for file in files)
        raise ConfigError(f"task {name!r} is defined twice", found=places, fix="rename one of the folders and its task")
    try:
        task = getattr(import_module(f"{PACKAGE}.{name}"), "TASK", None)
    except Exception as error:  # whatever the code of a task raises
        problem = f"task {name!r} can't be imported: {type(error).__name__}: {error}"
        raise ConfigError(problem, where=task_file(name), fix="repair or remove the folder") from error
    if not isinstance(task, Task) or task.name != name:
        raise ConfigError(
            f"task {name!r} is not declared",
            expected=f"TASK = Task({name!r}, ...)",
            found=f"Task({task.name!r}, ...)" if isinstance(task, Task) else repr(task),
            where=task_file(name),
            fix="declare it as docs/add-a-task.md shows",
        )
    return task


def tasks() -> list[Task]:
    """Return all tasks that can be loaded, in the order of tables; the others are named in one warning per process."""
    found = []
    for name in task_names():
        try:
            found.append(load_task(name))
        except ConfigError as error:
            _warn(f"{error.problem} ({error.where or error.found})")
    return sorted(found, key=lambda task: (task.order, task.name))


@lru_cache(maxsize=64)
def _warn(problem: str) -> None:
    get_logger("probe.task").warning("left out: %s", problem)


def task_title(name: str) -> str:
    """Return the title of a task, also of one that can't be loaded here."""
    return next((task.title for task in tasks() if task.name == name), "") or name


def known_metrics(name: str) -> dict[str, Metric]:
    """Return the metrics of a task by key.

    Raises:
        ConfigError: its main metric is not declared; or a task of the published table declares one of its metrics, as
            a column of that table or as something else.
    """
    task = load_task(name)
    for other in tasks():
        if task.published or not other.published:
            continue
        shared = [key for key in task.metrics if key in other.metrics]
        again = [key for key in shared if task.metrics[key] != other.metrics[key] or task.metrics[key].header]
        if again:
            raise ConfigError(
                f"task {name!r} declares metrics that are defined already by task {other.name!r}",
                found=", ".join(again),
                where=task_file(name),
                fix="give them other names",
            )
    if task.headline not in task.metrics:
        raise ConfigError(
            f"{task.headline}, the main metric of task {name!r}, is not declared",
            expected="one of the metrics that the task declares",
            found=f"declared: {', '.join(task.metrics) or 'none'}",
            where=task_file(name),
            fix=f'metrics={{"{task.headline}": Metric(title, "lower", unit)}} in its Task',
        )
    return dict(task.metrics)


def find_metric(key: str) -> Metric | None:
    """Return what is known of a metric of any task, those of the published table first; None for an unknown one.

    Tasks that can't be loaded are skipped.

    Raises:
        ConfigError: two tasks declare it differently.
    """
    declared = [task for task in tasks() if key in task.metrics]
    first = [task for task in declared if task.published] or declared
    metrics = [task.metrics[key] for task in first]
    if any(metric != metrics[0] for metric in metrics):
        raise ConfigError(
            f"several tasks declare metric {key!r} differently",
            found=", ".join(task.name for task in first),
            where=task_file(first[0].name),
            fix="give one of them another name",
        )
    return metrics[0] if metrics else None
