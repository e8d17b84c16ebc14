"""Small rooms as raw ScanNet recordings, filmed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.emit.scannet import EmitScannet, emit_scannet
from data.emit.scannet_scan import RawScan, as_scan, labels_table
from data.rooms.config import RoomsConfig
from data.rooms.source import RoomsSource
from data.scannet.config import ScannetConfig
from data.scannet.labels import FILE_NAME
from data.scannet.source import ScannetSource
from tests.data.scannet.faults import write_broken

SMALL = {"clips": 2, "height": 48, "width": 64, "min_visible": 3, "id_gap": 3, "invalid_pose_prob": 0.05}


@pytest.fixture(scope="session")
def rooms() -> RoomsSource:
    """The generator whose output imports must reproduce."""
    return RoomsSource(RoomsConfig(**SMALL))  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rooms as a raw dataset of three scans, the third a rescan of the first room; read only."""
    out = tmp_path_factory.mktemp("scannet") / "raw"
    rooms = RoomsConfig(**SMALL)  # type: ignore[arg-type]
    emit_scannet(EmitScannet(format="scannet", out=str(out), workers=1, rooms=rooms))
    return out


@pytest.fixture(scope="session")
def scan(rooms: RoomsSource) -> RawScan:
    """One recording of 81 frames in memory."""
    dense = RoomsSource(replace(rooms.config, dense="all", id_gap=0, invalid_pose_prob=0.0))
    return as_scan(dense.make("room00000"), "scene0000_00")


@pytest.fixture(scope="session")
def brief(scan: RawScan) -> RawScan:
    """The first 22 frames of it, where their number doesn't matter."""
    return RawScan(**{**vars(scan), **scan.frames(np.arange(22))})


@pytest.fixture
def release(tmp_path: Path, scan: RawScan) -> Callable[..., ScannetSource]:
    """Write recordings as a raw dataset and open it: `release({"scene0000_00": fault or None}, clips="all", ...)`."""

    def write(
        scans: dict[str, str | None] | None = None, film: RawScan | None = None, layout: str = "both", **options: object
    ) -> ScannetSource:
        folder = tmp_path / "release"
        for name, fault in (scans or {"scene0000_00": None}).items():
            write_broken(folder / "scans" / name, replace(film or scan, name=name), layout, fault)
        (folder / FILE_NAME).write_text(labels_table())
        return ScannetSource(ScannetConfig(**options), folder)  # type: ignore[arg-type]

    return write
