"""Options and freshly initialised networks of the built-in tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from configs.loader import resolve
from probe.task import load_task
from probe.tasks.geometry.head import GeometryProbe
from probe.tasks.instance.head import InstanceProbe
from probe.tasks.tagging.head import TaggingProbe

TASKS = ("tagging", "instance", "geometry")
TINY = {
    "trunk.width": "16",
    "trunk.heads": "2",
    "recipe.batch": "2",
    "recipe.queries": "2",
    "pictures": "0",
    "resamples": "50",
    "device": "cpu",
}


def options_of(task: str, profile: str = "debug", overrides: Mapping[str, str] | None = None) -> Any:
    """Return a task's options of a profile, with overrides such as `{"trunk.depth": "0"}`."""
    declared = load_task(task)
    return resolve(declared.options, [declared.values(profile)], overrides or {})


def network(
    task: str, channels: int, grid: tuple[int, int], options: Any, *, classes: int = 3,
    image_size: tuple[int, int] | None = None, class_embeddings: Tensor | None = None,
) -> nn.Module:  # fmt: skip
    """Return the network of a task, initialised from torch's global generator; images have 14 pixels per cell."""
    if task == "tagging":
        return TaggingProbe(channels, grid, options, classes, class_embeddings)
    if task == "instance":
        return InstanceProbe(channels, grid, options)
    return GeometryProbe(channels, grid, options, image_size or (14 * grid[0], 14 * grid[1]))
