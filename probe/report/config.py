"""Options of `spatialprobe probe report`, `compare` and `power`."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from configs import commands
from configs.cli import RootConfig
from configs.files import artifact_root
from configs.options import option

FOLDER = "report"


@dataclasses.dataclass(frozen=True)
class ReportConfig(RootConfig):
    """Options of `report`."""

    dataset: str | None = option(None, "only runs on this dataset")
    profile: str | None = option(None, "only runs of this profile")
    out: str | None = option(None, "folder of the report; default: report below the artifact root")
    resamples: int = option(1000, "bootstrap resamples of the confidence intervals", minimum=1)
    force: bool = option(False, "make it again although nothing that it is made from has changed")


@dataclasses.dataclass(frozen=True)
class CompareConfig(RootConfig):
    """Options of `compare`."""

    a: str = option(help="a run id, its first digits, or a selector such as model=oracle,layers=5,seed=0")
    b: str = option(help="the same for the other side")
    metric: str | None = option(None, "metric to test; default: the task's main metric; all columns are listed anyway")
    resamples: int = option(1000, "bootstrap resamples of the confidence intervals", minimum=1)


@dataclasses.dataclass(frozen=True)
class PowerConfig(RootConfig):
    """Options of `power`."""

    task: str = option(help="task of the finished runs")
    effect: float = option(help="difference to be found, in the metric's stored unit, such as 0.02", minimum=0)
    metric: str | None = option(None, "metric; default: the task's main metric")
    dataset: str | None = option(None, "only runs on this dataset")
    profile: str | None = option(None, "only runs of this profile")
    seeds: list[int] = option(help="seeds of each model to plan for", factory=lambda: [3, 5, 10], minimum=2)
    power: float = option(0.8, "probability with which the difference shall be found", minimum=0.05, maximum=0.999)
    alpha: float = option(0.05, "level of the two-sided test", minimum=1e-6, maximum=0.5)


def folder_of(config: ReportConfig) -> Path:
    """Return the folder of a report."""
    return Path(config.out).expanduser().absolute() if config.out else artifact_root(config.root) / FOLDER


def command_of(config: ReportConfig) -> str:
    """Return the command that makes the same report again."""
    usual = {field.name: field.default for field in dataclasses.fields(config)}
    resamples = None if config.resamples == usual["resamples"] else config.resamples
    again = commands.probe(
        "report", dataset=config.dataset, profile=config.profile, out=config.out, resamples=resamples, root=config.root
    )
    return commands.portable(again)
