"""`python -m probe import`: a published probe checkpoint becomes a finished run, scored on features that are here."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from configs.cli import Layers
from configs.errors import ConfigError, MissingError
from configs.files import sha256_file
from configs.options import option
from probe.config import RunOptions, beside_task_options, run_schema, train_layers


@dataclasses.dataclass
class ImportOptions(RunOptions):
    """What `import` takes besides the options of a run; the probe must be built as the checkpoint's was."""

    checkpoint: str = option(help="file of the published probe, a Lightning checkpoint")
    profile: str = option("paper", "scale and recipe of the checkpoint")


@lru_cache
def import_schema(task: str) -> type:
    """Return the dataclass of an import for a task."""
    return beside_task_options(ImportOptions, task, "Import")


def import_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the dataclass of `import` and the YAML values below the overrides; the profile is `paper` by default.

    Raises:
        ConfigError: no task, or an unknown task or profile.
    """
    values = train_layers({"profile": "paper", **overrides}).values
    return Layers(import_schema(overrides["task"]), values)


def import_checkpoint(config: Any) -> dict[str, Any]:
    """Load published weights into a probe, score it on select and report, and write it as a finished run.

    Tensors are read with `weights_only=True` and must match the probe's in name and shape, all of them.

    Args:
        config: of the dataclass `import_schema(task)`.

    Returns:
        The result, as of a trained run; `imported` says where the weights come from, `steps` is 0.

    Raises:
        MissingError, CorruptionError: the checkpoint can't be read.
        ConfigError: it belongs to another probe, or several layers or seeds are asked for.
        SpatialprobeError: as in `probe.train.train.train`.
    """
    from probe.results import results
    from probe.results.checkpoint_import import load_published
    from probe.results.write import write_run
    from probe.train.device import resolve_device
    from probe.train.session import Session
    from probe.train.train import plan_runs

    path = Path(config.checkpoint).expanduser()
    if not path.is_file():
        raise MissingError("no such checkpoint", where=path)
    schema: Any = run_schema(config.task)
    run = schema(**{field.name: getattr(config, field.name) for field in dataclasses.fields(schema)})
    planned = plan_runs(run)
    plans = [plan for _, group in planned for plan in group]
    if len(plans) != 1 or run.mdl:
        raise ConfigError(
            "a checkpoint is one probe on one layer",
            found=", ".join(plan.label for plan in plans),
            fix="choose one layer, and leave out seeds, depths, control and mdl",
        )
    inputs = planned[0][0]
    sha256 = sha256_file(path)
    plan = dataclasses.replace(plans[0], inputs={**plans[0].inputs, "imported": sha256})
    known = None if run.force else results.find(run.root, plan.run_id)
    if known is not None:
        return known
    session = Session(run, inputs, resolve_device(run.device))
    member = session.member(plan)
    load_published(member.module.probe, path)
    write_run(member, inputs)
    data = session.data_of([member])
    member.save_best(0, member.selected(session.evaluate_select([member], data)[0]))
    facts = {"imported": {"file": path.name, "sha256": sha256}, "rounds": 0, "steps": 0}
    return session.finish([member], data, 0.0, facts)[plan.run_id]
