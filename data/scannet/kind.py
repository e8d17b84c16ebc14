"""ScanNet as a kind of dataset: its options, its source, and what the importer noticed over a whole dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from configs.cli import Layers
from configs.console import print_table
from configs.options import inline, option
from data.dataset.clip import ClipSource
from data.dataset.tables import read_tables
from data.prepare.config import ImportConfig, Kind, preset_layers
from data.scannet.config import ScannetConfig
from data.scannet.source import ScannetSource

EXAMPLES = 3


@dataclasses.dataclass(frozen=True)
class PrepareScannet(ImportConfig):
    """Options of `prepare kind=scannet`."""

    scannet: ScannetConfig = inline(ScannetConfig)
    preset: str = option("standard", "named set of values in configs/dataset/scannet/")

    def clip_source(self) -> ClipSource:
        """Return the scans below `raw`."""
        return ScannetSource(self.scannet, self.raw_path())


def _layers(overrides: Mapping[str, str]) -> Layers[PrepareScannet]:
    return preset_layers(PrepareScannet(), "scannet", "standard", overrides)


def print_findings(dataset: Path) -> None:
    """Print how many clips show each oddity, with examples.

    Args:
        dataset: folder of a prepared dataset of this kind.
    """
    index = read_tables(dataset)["index.parquet"].set_index("clip_id")
    checked = index["id_check_ok"].notna()
    findings = {
        "instances and labels agree": checked & (index["id_check_ok"] == True),  # noqa: E712 - None is neither
        "instances and labels disagree, or unknown ids": checked & (index["id_check_ok"] == False),  # noqa: E712
        "not checked: no label images": index["has_instance"] & ~checked,
        "objects listed twice, merged": index["n_objects_merged"].fillna(0) > 0,
        "words that the labels table lacks": index["n_words_unknown"].fillna(0) > 0,
        "frames without a valid pose": index["n_pose_invalid"] > 0,
        "repeated frames": index["n_dup_frames"] > 0,
        "no sensor depth": ~index["has_depth"],
        "no annotation": ~index["has_instance"],
    }
    rows = [[name, int(hit.sum()), ", ".join(index.index[hit][:EXAMPLES])] for name, hit in findings.items()]
    print()
    print_table("What the importer noticed", ["finding", "clips", "for example"], rows)


KIND = Kind(_layers, show=print_findings)
