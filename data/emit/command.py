"""`spatialprobe data emit format=... out=...`: the rooms in the raw layout of a public dataset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from configs.cli import Layers
from configs.errors import ConfigError
from configs.loader import closest
from data.emit.config import EmitConfig, Emitted
from data.emit.dl3dv import EmitDL3DV, emit_dl3dv
from data.emit.scannet import EmitScannet, emit_scannet
from data.prepare.config import preset_layers


class Format(NamedTuple):
    """One raw layout: its options, and what writes the rooms in it, given them."""

    options: type[EmitConfig]
    write: Callable[[Any], Emitted]


FORMATS = {"scannet": Format(EmitScannet, emit_scannet), "dl3dv": Format(EmitDL3DV, emit_dl3dv)}


def emit_layers(overrides: Mapping[str, str]) -> Layers[EmitConfig]:
    """Return the options of `spatialprobe data emit` for the given arguments.

    Raises:
        ConfigError: an unknown format or preset.
    """
    name = overrides.get("format")
    if name is not None and name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}", fix=closest(name, FORMATS))
    start = EmitConfig() if name is None else FORMATS[name].options()
    return preset_layers(start, "rooms", "nano", overrides)


def run_emit(config: EmitConfig) -> int:
    """Write the raw dataset and print what was written."""
    done = FORMATS[config.format].write(config)
    print(f"{done.recordings} recordings\n{done.folder}\nnext: {done.next}")
    return 0
