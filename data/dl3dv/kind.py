"""DL3DV as a kind of dataset: its options, its source, and what is cleared away afterwards."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

from configs.cli import Layers
from configs.options import inline, option
from data.dataset.clip import ClipSource
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import ANSWERS, DL3DVSource
from data.prepare.config import ImportConfig, Kind, preset_layers


@dataclasses.dataclass(frozen=True)
class PrepareDL3DV(ImportConfig):
    """Options of `prepare kind=dl3dv`."""

    dl3dv: DL3DVConfig = inline(DL3DVConfig)
    preset: str = option("default", "named set of values in configs/dataset/dl3dv/")

    def clip_source(self) -> ClipSource:
        """Return the scenes below `raw`."""
        return DL3DVSource(self.dl3dv, self.raw_path())


def _layers(overrides: Mapping[str, str]) -> Layers[PrepareDL3DV]:
    return preset_layers(PrepareDL3DV(), "dl3dv", "default", overrides)


def _finish(dataset: Path) -> None:
    """Delete the teacher's answers: the clips hold them now."""
    shutil.rmtree(dataset / ANSWERS, ignore_errors=True)


KIND = Kind(_layers, _finish)
