"""What a probe can be trained for: one folder per task, found by its name; see docs/add-a-task.md.

Importing this package or a task's folder loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import ConfigError
from configs.loader import closest
from probe.task import Task

if TYPE_CHECKING:
    from probe.metrics.names import MetricInfo


def task_names() -> list[str]:
    """Return the names of all tasks, sorted: the folders of this package, which `__path__` may extend."""
    return sorted(path.parent.name for folder in __path__ for path in Path(folder).glob("*/__init__.py"))


def load_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        ConfigError: there is no such folder, and the message names the closest; or it can't be imported.
    """
    if name not in task_names():
        raise ConfigError(f"unknown task {name!r}", where="task", fix=closest(name, task_names()))
    try:
        task = getattr(import_module(f"probe.tasks.{name}"), "TASK", None)
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


def task_file(name: str) -> Path:
    """Return the file that declares a task of `task_names`."""
    return next(path for folder in __path__ if (path := Path(folder) / name / "__init__.py").is_file())


def known_metrics(task: str) -> dict[str, MetricInfo]:
    """Return what is known of the metrics of a task, by key: `probe.metrics.names.METRICS` and those that it declares.

    Raises:
        ConfigError: it declares a metric of METRICS anew, or its main metric nowhere.
    """
    from probe.metrics.names import METRICS

    declared = load_task(task)
    again = sorted(declared.metrics.keys() & METRICS.keys())
    if again:
        raise ConfigError(
            f"task {task!r} declares metrics that are defined already",
            found=", ".join(again),
            where=task_file(task),
            fix="leave them out of metrics=, or give them other names if they mean something else",
        )
    known = {**METRICS, **declared.metrics}
    if declared.headline not in known:
        raise ConfigError(
            f"which values of {declared.headline}, the main metric of task {task!r}, are better is not known",
            expected=f"one of the metrics {', '.join(METRICS)}, or one that the task declares",
            found=f"declared: {', '.join(declared.metrics) or 'none'}",
            where=task_file(task),
            fix=f'metrics={{"{declared.headline}": MetricInfo(title, "lower", unit)}} in its Task',
        )
    return known


def find_metric(key: str) -> MetricInfo | None:
    """Return what is known of a metric of any task; None for an unknown one. Tasks that can't be loaded are skipped.

    Raises:
        ConfigError: two tasks declare it differently.
    """
    from probe.metrics.names import METRICS

    if key in METRICS:
        return METRICS[key]
    found: dict[str, MetricInfo] = {}
    for name in task_names():
        try:
            declared = load_task(name).metrics
        except ConfigError:
            continue
        if key in declared:
            found[name] = declared[key]
    infos = list(found.values())
    if any(info != infos[0] for info in infos):
        raise ConfigError(
            f"several tasks declare metric {key!r} differently",
            found=", ".join(found),
            where=task_file(next(iter(found))),
            fix="give one of them another name",
        )
    return infos[0] if infos else None
