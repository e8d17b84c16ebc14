"""The kinds of datasets that `python -m data prepare dataset=...` can make, each loaded only when it is named."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from configs.cli import Layers
from configs.errors import ConfigError
from configs.loader import closest, known_names
from data.prepare.config import Kind


def _rooms() -> Kind:
    from data.rooms.kind import KIND

    return KIND


def _scannet() -> Kind:
    from data.scannet.kind import KIND

    return KIND


def _dl3dv() -> Kind:
    from data.dl3dv.kind import KIND

    return KIND


def _video() -> Kind:
    from data.video.kind import KIND

    return KIND


KINDS: dict[str, Callable[[], Kind]] = {"rooms": _rooms, "scannet": _scannet, "dl3dv": _dl3dv, "video": _video}
"""Name of each kind and the function that loads it."""


def load_kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises:
        ConfigError: there is no such kind.
    """
    if name not in KINDS:
        raise ConfigError(f"unknown dataset {name!r}", fix=closest(name, KINDS))
    return KINDS[name]()


def how_to_make(name: str) -> str:
    """Return what helps where a prepared dataset of this name is missing: the command that makes it."""
    kind, _, preset = name.partition("-")
    if kind not in KINDS or (preset and preset not in known_names(f"dataset/{kind}")):
        return f"correct dataset=, or make it: python -m data prepare dataset={'|'.join(KINDS)} raw=... name={name}"
    words = [f"make data DATASET={kind}", *([f"PRESET={preset}"] if preset else [])]
    return " ".join(words if kind == "rooms" else [*words, "RAW=<folder of the recordings>"])


def prepare_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the options of `python -m data prepare` for the given arguments."""
    return load_kind(overrides.get("dataset", "rooms")).layers(overrides)
