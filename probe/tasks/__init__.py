"""What a probe can be trained for: one folder per task, found by its name; see docs/add-a-task.md.

Importing this package or a task's folder loads no torch.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from configs.errors import ConfigError
from configs.loader import closest
from probe.tasks.task import Task


def task_names() -> list[str]:
    """Return the names of all tasks, sorted: the folders of this package, which `__path__` may extend."""
    return sorted(path.parent.name for folder in __path__ for path in Path(folder).glob("*/__init__.py"))


def load_task(name: str) -> Task:
    """Return a task by name.

    Raises:
        ConfigError: there is no such folder; the message names the closest.
    """
    if name not in task_names():
        raise ConfigError(f"unknown task {name!r}", where="task", fix=closest(name, task_names()))
    task = import_module(f"probe.tasks.{name}").TASK
    assert isinstance(task, Task) and task.name == name, f"probe/tasks/{name} must define TASK = Task({name!r}, ...)"
    return task
