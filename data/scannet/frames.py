"""The frames of one scan, whichever way they are stored: one interface over `.sens` files and exported folders."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError
from configs.files import sha256_file
from data.raw.folder import RawFolder, sizes_of
from data.scannet.config import ScannetConfig
from data.scannet.scans import Scan

Size = tuple[int, int]


class Frames(Protocol):
    """An open scan of N frames, addressed by rank 0..N-1.

    Attributes:
        kind: "sens" or "exported".
        numbers: (N,) number of each frame in the recording, as in the names of masks.
        notes: what is odd about the recording as a whole.
        depths: whether there are depth images at all.
    """

    kind: str
    numbers: NDArray[np.int64]
    notes: list[str]
    depths: bool

    def colour(self, rank: int) -> bytes:
        """Return the encoded colour image, JPEG or PNG."""

    def colour_size(self, sample: bytes) -> Size:
        """Return (height, width) that all colour images must have, given one of them."""

    def depth(self, rank: int) -> NDArray[np.float32]:
        """Return the depth image, (h, w) metres, 0 = unknown."""

    def pose(self, rank: int) -> NDArray[np.float32]:
        """Return the (4, 4) camera-to-world matrix as stored."""

    def camera(self, which: str) -> NDArray[np.float64]:
        """Return the (4, 4) camera matrix of the "color" or "depth" images, as stored, in pixels of each."""

    def where(self, rank: int) -> str:
        """Return what to call a frame in messages."""


@contextmanager
def open_frames(raw: RawFolder, scan: Scan, source: str) -> Iterator[Frames]:
    """Open a scan's frames.

    Args:
        raw: the raw folder.
        scan: one of its scans.
        source: "sens", "exported", or "auto" for `.sens` where there is one.

    Raises:
        DatasetError: neither is there, or it is damaged.
    """
    from data.scannet.exported import ExportedFrames, exported_folder
    from data.scannet.sens_frames import SensFrames

    recording, folder = raw.path(scan.inside(f"{scan.name}.sens")), exported_folder(raw, scan)
    if source != "exported" and recording.exists():
        with SensFrames(recording) as frames:
            yield frames
    elif source != "sens" and folder is not None:
        yield ExportedFrames(raw, folder)
    else:
        wanted = {"sens": f"{scan.name}.sens", "exported": "exported/color"}.get(source, f"{scan.name}.sens")
        raise DatasetError(
            "the scan has no frames", where=raw.root / scan.inside(wanted),
            expected="a .sens file, or a folder exported/ with color, depth, pose and intrinsic",
            fix="fetch the .sens file of this scan" if source != "exported" else "export it, or use source=auto",
        )  # fmt: skip


def count_frames(raw: RawFolder, scan: Scan, source: str) -> int:
    """Return the number of frames of a scan without reading any.

    Raises:
        DatasetError: as `open_frames`.
    """
    from data.scannet.exported import color_files, exported_folder
    from data.scannet.sens import SensFile

    recording, folder = raw.path(scan.inside(f"{scan.name}.sens")), exported_folder(raw, scan)
    if source != "exported" and recording.exists():
        with SensFile(recording) as file:
            return file.header.frames
    if source != "sens" and folder is not None:
        return len(color_files(raw, folder))
    return 0


def scan_files(raw: RawFolder, scan: Scan, config: ScannetConfig) -> list[list[Any]]:
    """Return names and sizes of the files that a clip of a scan is made from, and the digest of the aggregation.

    Raises:
        MissingError: the scan has no frames (any more).
    """
    from data.scannet.annotation import annotation_files
    from data.scannet.exported import exported_folder

    recording, folder = scan.inside(f"{scan.name}.sens"), exported_folder(raw, scan)
    names = [recording]
    if config.source == "exported" or not raw.exists(recording):
        if folder is None or config.source == "sens":
            raise MissingError("the scan has no frames", where=raw.root / scan.folder)
        parts = ("color", "pose", "intrinsic", *(() if config.depth == "none" else ("depth",)))
        names = [f"{folder}/{part}" if folder else part for part in parts]
    files = sizes_of([raw.path(name) for name in (*names, scan.inside(f"{scan.name}.txt"))])
    if config.annotations != "none":
        aggregation, *images = (raw.path(name) for name in annotation_files(raw, scan))
        files += sizes_of(images)
        files.append(["aggregation", sha256_file(aggregation) if aggregation.is_file() else None])
    return files
