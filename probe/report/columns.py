"""Columns of the main table and of each task, as the tasks declare them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from probe.task import Task, known_metrics, load_task, task_title, tasks


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


def task_columns(name: str) -> tuple[Column, ...]:
    """Return the columns of a task: of the published table if it is there, else its main metric and all it tests."""
    if name in TASK_TITLES:
        return tuple(column for column in COLUMNS if column.task == name)
    known, declared = known_metrics(name), load_task(name)
    return _columns(declared, dict.fromkeys([declared.headline, *(key for key in known if not known[key].diagnostic)]))
