"""The command `spatialprobe extract`: frozen backbones to feature stores."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":  # files of the working directory don't take the place of the project's
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.cli import RootConfig, Verb, main
from configs.options import option
from extract.job.config import RunConfig
from extract.job.doctor import DoctorConfig
from extract.job.download import DownloadConfig


@dataclass(kw_only=True, frozen=True)
class ModelsConfig(RootConfig):
    """Options of `models`."""

    kind: str = option("all", "which ones", choices=["all", "vgm", "vlm", "encoder", "control"])


def _run(config: RunConfig) -> int:
    """Extract one model after the other: the libraries are loaded once."""
    from configs.machine import visible_devices
    from extract.job.config import each_model
    from extract.job.extraction import run
    from extract.job.request import resolve_request

    # all of them first: what is wrong with one is reported before hours are spent on the others
    requests = [resolve_request(each, visible_devices(each.device)[0]) for each in each_model(config)]
    codes = [run(request) for request in requests]
    return 1 if 1 in codes else max(codes)


def _plan(config: RunConfig) -> int:
    from configs.machine import visible_devices
    from extract.job.config import each_model
    from extract.job.plan import make_plan
    from extract.job.request import resolve_request

    for each in each_model(config):
        plan = make_plan(resolve_request(each, visible_devices(each.device)[0]), measure=True)
        print(plan.describe())
        plan.check_disk()
    return 0


def _models(config: ModelsConfig) -> int:
    from configs.console import print_table
    from configs.names import alias_names
    from extract.families import usable_models

    models, problems = usable_models()
    rows = [
        [
            m.name, m.kind, m.blocks or None, _blocks(m.paper_blocks), m.width or None, _grid(m.grid),
            _grid(m.paper_grid), m.hub_id,
        ]
        for m in models
        if config.kind in ("all", m.kind)
    ]  # fmt: skip
    notes = [f"{alias} stands for {name}" for alias, name in sorted(alias_names().items())] + problems
    columns = ["model", "kind", "blocks", "paper reads", "width", "grid", "paper grid", "repository"]
    print_table("models and sources", columns, rows, notes=notes)
    return 0


def _blocks(blocks: dict[str, int]) -> str | None:
    return "/".join(str(block) for block in sorted(set(blocks.values()))) or None


def _grid(grid: list[int]) -> str | None:
    return "x".join(str(size) for size in grid) or None


def _doctor(config: DoctorConfig) -> int:
    from extract.job.doctor import doctor

    return doctor(config)


def _download(config: DownloadConfig) -> int:
    from extract.job.download import download

    return download(config)


VERBS = (
    Verb(
        "run",
        "Extract features of one model or several into stores, or finish what was interrupted.",
        RunConfig,
        _run,
        writes=True,
    ),
    Verb("plan", "Print what `run` would do and need, without doing it.", RunConfig, _plan),
    Verb("models", "List the models and sources.", ModelsConfig, _models),
    Verb("doctor", "Check devices, memory, disk, libraries, and which weights are here.", DoctorConfig, _doctor),
    Verb(
        "download",
        "Download the weights that the requested blocks need.",
        DownloadConfig,
        _download,
        writes=True,
    ),
)

if __name__ == "__main__":
    sys.exit(main("extract", "Features of frozen backbones: computed once, kept in a store.", VERBS))
