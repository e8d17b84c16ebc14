"""ScanNet as a kind of dataset: its options and its source."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from configs.cli import Layers
from configs.options import option
from data.dataset.clip import ClipSource
from data.prepare.config import ImportConfig, Kind, only, preset_layers
from data.scannet.config import ScannetConfig


@dataclasses.dataclass
class PrepareScannet(ScannetConfig, ImportConfig):
    """Options of `prepare dataset=scannet`."""

    preset: str = option("standard", "named set of values in configs/dataset/scannet/")


def _layers(overrides: Mapping[str, str]) -> Layers:
    return preset_layers(PrepareScannet, "scannet", "standard", overrides)


def _source(config: PrepareScannet) -> ClipSource:
    from data.scannet.source import ScannetSource

    return ScannetSource(only(ScannetConfig, config), config.raw_path())


def _show(dataset: Path) -> None:
    from data.scannet.show import print_findings

    print_findings(dataset)


KIND = Kind(_layers, _source, show=_show)
