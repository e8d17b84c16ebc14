"""Whatever lies in place of a raw file, an importer names it in one message: no traceback, no waiting for a pipe."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest

from configs.errors import SpatialprobeError
from data.dataset.clip import ClipSource
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.source import DL3DVSource
from data.emit.dl3dv import EmitDL3DV, emit_dl3dv
from data.emit.scannet import EmitScannet, emit_scannet
from data.prepare.prepare import prepare
from data.rooms.config import RoomsConfig
from data.scannet.config import ScannetConfig
from data.scannet.source import ScannetSource
from data.video.config import VideoConfig
from data.video.source import VideoSource
from tests.data.video.filming import labelled

ROOMS = RoomsConfig(clips=1, frames=22, height=48, width=64, min_visible=3)
PATIENCE_S = 10


class Stuck(BaseException):
    """A read that waits for ever; no handler of errors takes it for one of its own."""


def _link(path: Path, target: Path | str) -> None:
    path.unlink()
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a pipe": _pipe,
    "a folder": _folder,
    "a link to itself": lambda path: _link(path, path),
    "a link to nothing": lambda path: _link(path, path.with_name("nothing")),
    "a link to a device": lambda path: _link(path, "/dev/zero"),
    "an empty file": lambda path: path.write_bytes(b""),
    "zeros": lambda path: path.write_bytes(bytes(5000)),
    "large numbers": lambda path: path.write_bytes(path.read_bytes()[:8] + b"\xff\xff\xff\x7f" * 200),
    "half a file": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "other JSON": lambda path: path.write_bytes(b'[{"id": [], "frames": {"a": 1e300}}, null]'),
    "deep JSON": lambda path: path.write_bytes(b"[" * 100_000),
}
KINDS: dict[str, tuple[str, Callable[[Path], ClipSource]]] = {
    "sens": ("scannet", lambda raw: ScannetSource(ScannetConfig(source="sens", clips="all", window=20), raw)),
    "exported": ("scannet", lambda raw: ScannetSource(ScannetConfig(source="exported"), raw)),
    "oracle": ("dl3dv", lambda raw: DL3DVSource(DL3DVConfig(teacher="oracle"), raw)),
    "colmap": ("dl3dv", lambda raw: DL3DVSource(DL3DVConfig(clips="all", undistort=True), raw)),
    "pictures": ("pictures", lambda raw: VideoSource(VideoConfig(frames=20), raw)),
    "videos": ("videos", lambda raw: VideoSource(VideoConfig(frames=20), raw)),
}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One raw folder of every layout; read only."""
    folder = tmp_path_factory.mktemp("raw")
    emit_scannet(EmitScannet(format="scannet", out=str(folder / "scannet"), rooms=ROOMS, workers=1, rescans=0))
    emit_dl3dv(
        EmitDL3DV(format="dl3dv", out=str(folder / "dl3dv"), rooms=ROOMS, workers=1, portrait=0, nested=0, distorted=1)
    )
    labelled(folder / "pictures", ["a"], frames=20, video=False)
    labelled(folder / "videos", ["a"], frames=20, video=True)
    return folder


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Waiting for ever is an error too."""

    def give_up(number: int, frame: FrameType | None) -> None:
        raise Stuck(f"still waiting after {PATIENCE_S} s")

    before = signal.signal(signal.SIGALRM, give_up)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def samples(folder: Path) -> list[Path]:
    """Return one file of every sort: names that differ in numbers alone are of one sort; never the first of them."""
    sorts: dict[str, list[Path]] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = re.sub(r"[0-9a-f]{64}|\d+", "#", str(path.relative_to(folder)))
        sorts.setdefault(name, []).append(path)
    return [paths[min(1, len(paths) - 1)] for paths in sorts.values()]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
def test_no_traceback(kind: str, hostile: str, raw: Path, tmp_path: Path) -> None:
    layout, open_source = KINDS[kind]
    for number, original in enumerate(samples(raw / layout)):
        copy = tmp_path / f"{number}" / layout
        shutil.copytree(raw / layout, copy, copy_function=os.link)
        path = copy / original.relative_to(raw / layout)
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)  # no longer the same file as the original
        HOSTILE[hostile](path)
        signal.alarm(PATIENCE_S)
        try:
            summary = prepare(open_source(copy), tmp_path / f"{number}" / "made", workers=1, allowed_failures=9)
        except SpatialprobeError as error:
            said = [str(error)]
        else:
            said = [*summary.failed.values(), *summary.refused.values()]
        signal.alarm(0)
        assert not any(text.startswith("unexpected") for text in said), f"{original.name}: {said}"
