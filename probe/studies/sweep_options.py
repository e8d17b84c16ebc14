"""Options of `python -m probe sweep`: those of `train`, and where the work is done."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from configs.cli import Layers
from configs.options import option
from probe.config import RunOptions, beside_task_options, run_schema, train_layers


@dataclasses.dataclass
class SweepOptions(RunOptions):
    """What a sweep takes besides the options of its runs; `layers` and `noise` default to all that the store has."""

    cluster: str = option("local", "where probes train: local, or tcp://host:port of a running Dask scheduler")
    workers: int = option(
        0, "processes; 0: local: one per GPU, or one on a machine without; else all of the cluster", minimum=0
    )


@lru_cache
def sweep_schema(task: str) -> type:
    """Return the dataclass of a sweep of a task."""
    return beside_task_options(SweepOptions, task, "Sweep")


def sweep_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the dataclass of `sweep` and the YAML values below the overrides, for a `task=` and a `profile=`.

    Raises:
        ConfigError: no task, or an unknown task or profile.
    """
    values = train_layers(overrides).values
    return Layers(sweep_schema(overrides["task"]), values)


def run_config(config: Any) -> Any:
    """Return the configuration of the runs of a sweep."""
    schema: Any = run_schema(config.task)
    return schema(**{field.name: getattr(config, field.name) for field in dataclasses.fields(schema)})
