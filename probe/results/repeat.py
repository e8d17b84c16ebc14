"""The command that repeats a run: what errors about it and the report tell the reader to type."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from configs import commands
from configs.errors import ConfigError
from configs.identity import plain
from configs.options import as_typed
from probe.config import NOT_IDENTITY, read_run

_NEVER = (*NOT_IDENTITY, "task", "profile", "readout")
"""Told otherwise, or without influence on the numbers."""
_DERIVED = ("recipe.seed", "trunk.depth")
"""Told by seeds= and depths=."""
_BY_PROFILE = ("split_scheme", "variant")


def train_command(result: Mapping[str, Any], *, store: bool = True, **more: str | None) -> str:
    """Return the command that trains or imports a run again: only what differs from the profile is named.

    Args:
        result: of the run, or what its `run.json` says.
        store: whether to name the store that it read; one of a dataset that has changed since is of no use.
        more: further options, such as `root` and `force="true"`.
    """
    config = _flat(result["config"])
    words = {
        "task": result["task"],
        "model": result["source"],
        "dataset": result["dataset"],
        "store": str(result["store"])[:12] if store else "",
        "layers": result["array"],
        "profile": result["profile"],
        "seeds": result["seed"],
    }
    usual = _defaults(str(result["task"]), str(result["profile"]))
    if str(result["depth"]) != _usual_depth(usual):
        words["depths"] = result["depth"]
    for key, value in config.items():
        if key in _NEVER or key in _DERIVED or key not in usual or usual[key] == value:
            continue
        if key in _BY_PROFILE and value == ("paper" if result["profile"] == "paper" else "standard"):
            continue
        words[key] = value
    unit = config.get("recipe.unit")
    if float(result.get("fraction") or 1) < 1 and "data_budget" not in config and unit != usual.get("data_budget"):
        words["data_budget"] = unit  # 0.2.0 had no other
    typed = {**{key: _word(value) for key, value in words.items()}, **more}
    if "imported" in result:
        return commands.probe("import", **typed, checkpoint=result["imported"]["file"])
    return commands.probe("train", **typed)


@lru_cache
def _defaults(task: str, profile: str) -> Mapping[str, Any]:
    """Return key -> value of a run of which nothing but task and profile is given; empty for an unknown profile."""
    try:
        return _flat(plain(as_typed(read_run({"task": task, "profile": profile}))))
    except ConfigError:
        return {}


def _usual_depth(usual: Mapping[str, Any]) -> str:
    return "linear" if usual.get("readout") == "linear" else str(usual.get("trunk.depth"))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _word(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return ",".join(map(_word, value)) or "[]"
    return "null" if value is None else str(value)
