"""What the tasks declare for the report: columns of the main table, panels of the scatter, bins, examples."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from configs import commands
from probe.task import Bins, Task, known_metrics, load_task, task_title, tasks


@dataclass(frozen=True)
class Column:
    """A column of the main table.

    Attributes:
        metric: key in the task's `metrics`.
        header: as printed in the published table.
        task: the task that gives it.
        scale: factor from the stored to the printed unit.
        decimals: printed digits behind the point.
        better: `higher` or `lower`.
    """

    metric: str
    header: str
    task: str
    scale: float
    decimals: int
    better: Literal["higher", "lower"]


def _columns(task: Task, keys: Iterable[str]) -> tuple[Column, ...]:
    found = ((key, task.metrics[key]) for key in keys)
    return tuple(Column(key, m.header or m.title, task.name, m.scale, m.decimals, m.better) for key, m in found)


_PUBLISHED = [task for task in tasks() if task.published]


TASK_TITLES = {task.name: task_title(task.name) for task in _PUBLISHED}
"""The tasks of the published table."""


COLUMNS = tuple(
    column for task in _PUBLISHED for column in _columns(task, (key for key, m in task.metrics.items() if m.header))
)
"""The columns of the published table, in its order. Tables hold stored units; `scale` is for printing only."""


_BY_METRIC = {column.metric: column for column in COLUMNS}
PANELS = tuple(pair for task in _PUBLISHED for pair in task.scatter if set(pair) <= _BY_METRIC.keys())
"""The panels of the scatter: metric to the right, metric upwards."""

PANEL_TASKS = tuple(_BY_METRIC[metric].task for metric in (PANELS[0] if PANELS else ()))
"""The tasks that a source needs to be shown in the scatter."""

SCATTER_COLUMNS = tuple(
    column
    for column in COLUMNS
    if column.metric in {x for x, _ in PANELS} or column.task in {_BY_METRIC[y].task for _, y in PANELS}
)
"""The columns of table `scatter`: metrics to the right, and all columns of the tasks upwards."""

BINS: tuple[tuple[str, Bins], ...] = tuple((task.name, bins) for task in tasks() for bins in task.bins)
"""Metrics in bins, with the name of their task; each has a table."""

EXAMPLE = next(iter(TASK_TITLES), commands.ANY)
"""The task in commands that are given as an example."""


def task_columns(name: str) -> tuple[Column, ...]:
    """Return the columns of a task: of the published table if it is there, else its main metric and all it tests."""
    if name in TASK_TITLES:
        return tuple(column for column in COLUMNS if column.task == name)
    known, declared = known_metrics(name), load_task(name)
    return _columns(declared, dict.fromkeys([declared.headline, *(key for key in known if not known[key].diagnostic)]))
