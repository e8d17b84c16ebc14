"""The command that makes the features of a run."""

from __future__ import annotations

from configs import commands
from configs.commands import portable
from configs.errors import SpatialprobeError
from fusion.record import fuse_command, load_record, record_path
from probe.report.runs.collect import Run
from probe.report.runs.stores import StoreFacts


def features_command(run: Run, facts: StoreFacts) -> str:
    """Return the command that makes the features of a run, or fuses them.

    Args:
        run: the run.
        facts: of the store that it read.
    """
    result, dataset = run.result, str(run.result["dataset"])
    if "+" in run.source or "@" in run.source or "~" in run.source:
        path = record_path(run.folder.parents[1], dataset, run.source, run.store)
        try:
            return portable(fuse_command(load_record(path)))
        except (SpatialprobeError, OSError):  # made on the fly, or damaged
            return portable(commands.fusion("fuse", model=run.source, dataset=dataset))
    timestep = (facts.arrays.get(run.array, {}).get("extra") or {}).get("timestep")
    grid = "x".join(map(str, result["grid"])) if result["grid"] else None
    command = commands.add_array(
        run.source, dataset, result["block"], result["tap"] or "", result["noise_level"], timestep, grid
    )
    return portable(command)
