"""`spatialprobe data emit format=... out=...`: the rooms in the raw layout of a public dataset."""

from __future__ import annotations

from collections.abc import Mapping

from configs.cli import Layers
from configs.errors import ConfigError
from configs.loader import closest
from data.emit.config import EmitConfig
from data.emit.dl3dv import EmitDL3DV
from data.emit.scannet import EmitScannet
from data.prepare.config import preset_layers

FORMATS: dict[str, type[EmitConfig]] = {"scannet": EmitScannet, "dl3dv": EmitDL3DV}


def emit_layers(overrides: Mapping[str, str]) -> Layers[EmitConfig]:
    """Return the options of `spatialprobe data emit` for the given arguments.

    Raises:
        ConfigError: an unknown format or preset.
    """
    name = overrides.get("format")
    if name is not None and name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}", fix=closest(name, FORMATS))
    start = EmitConfig() if name is None else FORMATS[name]()
    return preset_layers(start, "rooms", "nano", overrides)


def run_emit(config: EmitConfig) -> int:
    """Write the raw dataset and print what was written."""
    done = config.write()
    print(f"{done.recordings} recordings\n{done.folder}\nnext: {done.next}")
    return 0
