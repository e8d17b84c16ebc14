"""What the training loop asks of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from configs.loader import load_named

if TYPE_CHECKING:
    from probe.metrics.names import MetricInfo
    from probe.module import ProbeModule


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
    """One task, described without torch.

    Attributes:
        name: the folder's name, what the user types as `task=`.
        options: dataclass of everything that a profile sets: `readout`, `heads_fp32`, `trunk`, `loss` and `recipe` as
            in `probe.net.config`, and the task's own groups.
        values: from the name of a profile to the YAML values that fill `options`; KeyError of that name for a profile
            that the task does not have.
        module: imports and returns the task's subclass of `ProbeModule`.
        label_column: column of the dataset's index that says whether a clip has ground truth for the task.
        headline: main metric: it lists runs, picks layers, and is what paired tests judge.
        pooled: whether the metrics rank the clips of a split against each other, so that no clip has a value of its
            own.
        metrics: what a reader needs to know of the task's metrics, by key, beyond those of `METRICS` in
            `probe.metrics.names`.
    """

    name: str
    options: type
    values: Callable[[str], Mapping[str, Any]]
    module: Callable[[], type[ProbeModule]]
    label_column: str
    headline: str
    pooled: bool = False
    metrics: Mapping[str, MetricInfo] = field(default_factory=dict)
