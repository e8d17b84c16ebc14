"""Rooms written as raw DL3DV scenes, and imports of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.dataset.reader import PreparedDataset
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import DL3DVSource
from data.emit.dl3dv import EmitDL3DV, emit_dl3dv, plan, scene_hash
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from tests.data.dl3dv.faults import broken_copy

PLANS = ("uniform-4",)
SCALE = 0.4


def options(out: Path, **changes: object) -> EmitDL3DV:
    """Small rooms: few positions and pixels, and so few demands on the path."""
    small = {"clips": 4, "frames": 20, "height": 48, "width": 64, "min_visible": 3}
    knobs = {field.name for field in dataclasses.fields(RoomsConfig)}
    rooms = RoomsConfig(**{**small, **{key: value for key, value in changes.items() if key in knobs}})  # type: ignore[arg-type]
    others = {"workers": 1, "scale": SCALE} | {key: value for key, value in changes.items() if key not in knobs}
    return EmitDL3DV(format="dl3dv", out=str(out), rooms=rooms, **others)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Raw:
    """A raw dataset: its folder, the options it was written with, and its scenes in the order of the rooms."""

    folder: Path
    options: EmitDL3DV
    scenes: list[str]

    def scene(self, number: int) -> Path:
        """Folder of a scene's files, `colmap/` included where it lies there."""
        folder = self.folder / self.options.batch / self.scenes[number]
        return folder / "colmap" if (folder / "colmap").is_dir() else folder


@pytest.fixture(scope="session")
def emit(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Raw]:
    """Write a raw dataset with some options changed, and one more scene for each of some faults."""

    def write(broken: Iterable[str] = (), **changes: object) -> Raw:
        config = options(tmp_path_factory.mktemp("raw") / "DL3DV", **changes)
        emit_dl3dv(config)
        raw = Raw(Path(config.out), config, list(plan(config)))
        for fault in broken:
            name = scene_hash(config.rooms.seed, len(raw.scenes))
            broken_copy(raw.folder / config.batch / raw.scenes[0], name, fault)
            raw.scenes.append(name)
        return raw

    return write


@pytest.fixture(scope="session")
def raw(emit: Callable[..., Raw]) -> Raw:
    """One plain scene, one with distortion, one under `colmap/`, one upright; read only."""
    return emit()


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., PreparedDataset]:
    """Import a raw folder and open the result."""

    def run(folder: Path, **options: object) -> PreparedDataset:
        path = tmp_path / "datasets" / "dl3dv"
        prepare(DL3DVSource(DL3DVConfig(**options), folder), path, plans=PLANS, workers=1)  # type: ignore[arg-type]
        return PreparedDataset(path)

    return run
