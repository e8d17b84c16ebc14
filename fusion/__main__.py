"""`spatialprobe fusion fuse|ls|inspect|verify`: features of several models read as one."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # files of the working directory don't take the place of the project's
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from configs.cli import Verb, main
from configs.commands import STAGES
from fusion.config import FuseConfig, InspectConfig, ListConfig, ViewConfig, fuse_layers


def _fuse(config: FuseConfig) -> int:
    from fusion.fuse import fuse

    return fuse(config)


def _ls(config: ListConfig) -> int:
    from fusion.fuse import list_views

    return list_views(config)


def _inspect(config: InspectConfig) -> int:
    from fusion.fuse import inspect

    return inspect(config)


def _verify(config: ViewConfig) -> int:
    from fusion.fuse import verify

    return verify(config)


VERBS = (
    Verb("fuse", "join models into one source that probes find by name", fuse_layers, _fuse, writes=True),
    Verb("ls", "list the recorded views and the stores that they read", ListConfig, _ls),
    Verb("inspect", "show what a fused source is made of", InspectConfig, _inspect),
    Verb("verify", "check a fused source: up to date, every byte as written", ViewConfig, _verify),
)

if __name__ == "__main__":
    sys.exit(main("fusion", STAGES["fusion"], VERBS))
