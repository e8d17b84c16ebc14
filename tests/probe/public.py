"""Public functions of all metrics and losses, wherever a task keeps them: no new one escapes the tables of tests."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
METRICS = (
    "probe/metrics/*.py",
    "probe/tasks/*/metrics.py",
    "probe/tasks/*/metrics/*.py",
    "probe/tasks/instance/clustering.py",
    "probe/tasks/instance/ceiling.py",
)
LOSSES = ("probe/tasks/*/loss.py", "probe/net/loss_terms.py")


def modules(*patterns: str) -> list[Any]:
    """Import the modules that the patterns find below the checkout."""
    paths = sorted({path.relative_to(ROOT) for pattern in patterns for path in ROOT.glob(pattern)})
    return [importlib.import_module(".".join(path.with_suffix("").parts)) for path in paths if path.stem != "__init__"]


def functions(*patterns: str) -> dict[str, Callable[..., Any]]:
    """Return the public functions that those modules define, by name."""
    found: dict[str, Callable[..., Any]] = {}
    for module in modules(*patterns):
        for name, thing in vars(module).items():
            if inspect.isfunction(thing) and thing.__module__ == module.__name__ and not name.startswith("_"):
                assert name not in found, f"{name} stands in {found[name].__module__} and {module.__name__}"
                found[name] = thing
    return found
