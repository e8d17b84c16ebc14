"""Which runs may be compared: a setting is everything that must be equal, a board joins settings of the tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from configs.errors import ConfigError
from configs.identity import differences, digest
from probe.config import NOT_IDENTITY
from probe.report.runs.collect import Run
from probe.task import load_task, tasks
from probe.train.recipe import rescaled

NOT_COMPARED = (*NOT_IDENTITY, "task", "readout")
"""Options that choose runs, or where and how they run, or that have a place of their own in the key."""
_SHARED = ("profile", "variant", "split_scheme", "fraction", "data_seed", "sampler")
"""Options that must be equal on a board; the others belong to a task."""


@dataclass(frozen=True)
class Setting:
    """Runs that differ only in features, seeds and control twins.

    Attributes:
        id: ten digits.
        board: id of the board.
        key: everything that is equal.
        runs: the runs, twins on shuffled targets included.
    """

    id: str
    board: str
    key: Mapping[str, Any]
    runs: tuple[Run, ...]

    @property
    def task(self) -> str:
        """Name of the task."""
        return str(self.key["task"])

    @property
    def real(self) -> list[Run]:
        """The runs on true targets."""
        return [run for run in self.runs if not run.result["control"]]

    @property
    def finished(self) -> tuple[str, str]:
        """When its last run ended, then its id: settings that are equal otherwise are shown latest first."""
        return max(str(run.result.get("finished_at")) for run in self.runs), self.id

    @property
    def sources(self) -> set[str]:
        """Stores that were probed."""
        return {run.store for run in self.real}


def setting_key(run: Run) -> dict[str, Any]:
    """Return what must be equal for two runs to be comparable, as JSON types.

    Equal are: task, dataset and how it was prepared, clips of all splits, frozen queries, metrics, and the whole probe
    with its training except the seed. Probes read from published checkpoints are kept apart from those trained here.
    """
    result, config = run.result, dict(run.result["config"])
    options = {key: value for key, value in config.items() if key not in NOT_COMPARED}
    options["recipe"] = {k: v for k, v in config.get("recipe", {}).items() if k != "seed"}
    options["trunk"] = {k: v for k, v in config.get("trunk", {}).items() if k != "depth"}
    if not rescaled(float(options.get("fraction", 1)), options.get("data_budget"), str(options["recipe"].get("unit"))):
        options.pop("data_budget", None)
    inputs = run.identity.get("inputs", {})
    checked = {key: inputs.get(key) for key in ("dataset_parameters", "clips", "plan")}
    return {
        "task": run.task,
        "dataset": result["dataset"],
        "depth": str(result["depth"]),
        "queries": result["plan"],
        "imported": "imported" in result,
        "version": run.identity.get("version"),
        "inputs": checked,
        "options": options,
    }


def data_budget(options: Mapping[str, Any]) -> str | None:
    """Return what a setting on a share of the clips has in common with one on all of them; None for all clips.

    Args:
        options: of a setting's key.
    """
    if float(options.get("fraction", 1)) >= 1:
        return None
    return str(options.get("data_budget") or options["recipe"].get("unit"))


def board_key(key: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a setting's key that settings of other tasks share."""
    options = key["options"]
    shared = {name: options.get(name) for name in _SHARED}
    if budget := data_budget(options):
        shared["data_budget"] = budget
    return {"dataset": key["dataset"], "parameters": key["inputs"]["dataset_parameters"], **shared}


def settings_of(runs: Sequence[Run]) -> list[Setting]:
    """Group runs into settings; the most complete boards first, and inside a board and task the main setting first.

    The main one has most sources, then the profile's usual depth, then most runs, and is the latest of equals.
    """
    found: dict[str, list[Run]] = {}
    keys: dict[str, dict[str, Any]] = {}
    for run in runs:
        key = setting_key(run)
        name = digest(key)[:10]
        keys[name] = key
        found.setdefault(name, []).append(run)
    settings = [Setting(name, digest(board_key(keys[name]))[:10], keys[name], tuple(r)) for name, r in found.items()]
    boards: dict[str, int] = {}
    for setting in settings:
        boards[setting.board] = boards.get(setting.board, 0) + len(setting.sources)
    order = {task.name: task.order for task in tasks()}

    def rank(setting: Setting) -> tuple[Any, ...]:
        task = order.get(setting.task, 100)
        usual = setting.key["depth"] == usual_depth(setting.task, str(setting.key["options"].get("profile")))
        return (-boards[setting.board], setting.board, task, -len(setting.sources), not usual, -len(setting.real))

    latest = sorted((s for s in settings if s.real), key=lambda s: s.finished, reverse=True)
    return sorted(latest, key=rank)


def main_settings(settings: Sequence[Setting]) -> dict[tuple[str, str], Setting]:
    """Return (board, task) -> the setting that main tables show."""
    found: dict[tuple[str, str], Setting] = {}
    for setting in settings:
        found.setdefault((setting.board, setting.task), setting)
    return found


def usual_depth(task: str, profile: str) -> str:
    """Return the trunk depth of a profile as text; empty for a profile that is not known here."""
    try:
        values = load_task(task).values(profile)
    except (ConfigError, KeyError):
        return ""
    return "linear" if values.get("readout") == "linear" else str(values.get("trunk", {}).get("depth", ""))


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return in what two settings' keys differ, as `key: one -> other`."""
    return [str(item) for item in differences(first, second)]
