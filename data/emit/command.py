"""`spatialprobe data emit format=... out=...`: the rooms in the raw layout of a public dataset.

A format is a module `data/emit/<format>.py` that exports `FORMAT: Format`; it is loaded only when it is named.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from configs.cli import Layers
from configs.errors import ConfigError
from configs.loader import closest
from data.emit.config import EmitConfig, Format
from data.prepare.config import preset_layers


def _scannet() -> Format:
    from data.emit.scannet import FORMAT

    return FORMAT


def _dl3dv() -> Format:
    from data.emit.dl3dv import FORMAT

    return FORMAT


FORMATS: dict[str, Callable[[], Format]] = {"scannet": _scannet, "dl3dv": _dl3dv}


def emit_layers(overrides: Mapping[str, str]) -> Layers:
    """Return the options of `spatialprobe data emit` for the given arguments.

    Raises:
        ConfigError: an unknown format or preset.
    """
    name = overrides.get("format")
    if name is not None and name not in FORMATS:
        raise ConfigError(f"unknown format {name!r}", fix=closest(name, FORMATS))
    schema = EmitConfig if name is None else FORMATS[name]().options
    return preset_layers(schema, "rooms", "nano", overrides)


def run_emit(config: EmitConfig) -> int:
    """Write the raw dataset and say what was written."""
    done = FORMATS[config.format]().write(config)
    print(f"{done.recordings} recordings, {len(done.broken)} of them broken on purpose\n{done.folder}")
    for recording, fault in done.broken.items():
        print(f"  {recording}: {fault}")
    print(f"next: {done.next}")
    return 0
