"""Options of `python -m probe report` and `python -m probe compare`."""

from __future__ import annotations

import dataclasses

from configs.cli import RootConfig
from configs.options import option


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

    a: str = option(help="a run id, its first digits, or a selector such as model=oracle,task=tagging,layers=5")
    b: str = option(help="the same for the other side")
    metric: str | None = option(None, "metric to test; default: the task's main metric; all columns are listed anyway")
    resamples: int = option(1000, "bootstrap resamples of the confidence intervals", minimum=1)
