"""The frames of one scan, whichever way they are stored: one interface over `.sens` files and exported folders.

An exported folder holds color/<i>.jpg, depth/<i>.png, pose/<i>.txt and intrinsic/*.txt.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError
from configs.files import sha256_file
from data.raw.folder import RawFolder, sizes_of
from data.raw.images import encode_png, picture_size, read_depth
from data.raw.listing import READ, describe_left_out, list_pictures
from data.scannet.annotation import annotation_files
from data.scannet.cameras import parse_matrix
from data.scannet.config import ScannetConfig
from data.scannet.scans import Scan
from data.scannet.sens import SensFile

Size = tuple[int, int]
DEPTH_SHIFT = 1000
"""Units per metre of exported depth images."""


class Frames(Protocol):
    """An open scan of N frames, addressed by rank 0..N-1.

    Attributes:
        kind: "sens" or "exported".
        numbers: (N,) number of each frame in the recording, as in the names of masks.
        notes: what is odd about the recording as a whole.
        depths: whether there are depth images at all.
        depth_step: metres per step of their 16-bit values.
    """

    kind: str
    numbers: NDArray[np.int64]
    notes: list[str]
    depths: bool
    depth_step: float

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
    recording, folder = raw.path(scan.inside(f"{scan.name}.sens")), exported_folder(raw, scan)
    if source != "exported" and recording.exists():
        with SensFile(recording) as file:
            return file.header.frames
    if source != "sens" and folder is not None:
        return len(color_files(raw, folder)[0])
    return 0


def scan_files(raw: RawFolder, scan: Scan, config: ScannetConfig) -> list[list[Any]]:
    """Return names and sizes of the files that a clip of a scan is made from, and the digest of the aggregation.

    Raises:
        MissingError: the scan has no frames (any more).
    """
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


def exported_folder(raw: RawFolder, scan: Scan) -> str | None:
    """Return where a scan's exported frames are, relative to the raw folder; None if there are none."""
    for folder in (scan.inside("exported"), scan.folder):
        name = f"{folder}/color" if folder else "color"
        if raw.path(name).is_dir():
            return folder
    return None


def color_files(raw: RawFolder, folder: str) -> tuple[dict[int, str], list[str]]:
    """Return frame number -> name of its colour image, increasing, and sentences about files that are no frames.

    Raises:
        DatasetError: two files have the same number.
    """
    where = f"{folder}/color" if folder else "color"
    listing = list_pictures(raw, where)
    found: dict[int, str] = {}
    unnumbered: dict[str, str] = {}
    for name in listing.names:
        stem = name.rpartition(".")[0]
        stem = Path(stem).stem if stem.lower().endswith(READ) else stem  # an unfinished copy, 5.jpg.part
        if not (stem.isascii() and stem.isdigit()):
            unnumbered[name] = "its name is not a frame number"
            continue
        if int(stem) in found:
            raise DatasetError(
                f"two colour images of frame {int(stem)}", where=raw.root / where, found=f"{found[int(stem)]}, {name}",
                fix="remove one of them",
            )  # fmt: skip
        found[int(stem)] = name
    return dict(sorted(found.items())), [*listing.left_out, *describe_left_out(unnumbered)]


class ExportedFrames:
    """An exported folder as `Frames`.

    Args:
        raw: the raw folder.
        folder: of `exported_folder`.

    Raises:
        DatasetError: two colour images have the same number.
    """

    kind = "exported"

    def __init__(self, raw: RawFolder, folder: str) -> None:
        self._raw, self._folder = raw, f"{folder}/" if folder else ""
        self._colour, self.notes = color_files(raw, folder)
        self.numbers: NDArray[np.int64] = np.array(list(self._colour), np.int64)
        self.depths = raw.exists(f"{self._folder}depth")
        self.depth_step = 1 / DEPTH_SHIFT
        self._depth_size: Size | None = None

    def colour(self, rank: int) -> bytes:
        """Return the colour image's file."""
        return self._raw.read(self._colour_name(rank))

    def colour_size(self, sample: bytes) -> Size:
        """Return the (height, width) of the image given."""
        return picture_size(sample, self._raw.root / self._folder / "color")

    def depth(self, rank: int) -> NDArray[np.float32]:
        """Return the depth image in metres, (h, w), 0 = unknown; all must have one size."""
        name = f"{self._folder}depth/{int(self.numbers[rank])}.png"
        image = read_depth(self._raw.read(name), self._raw.root / name, size=self._depth_size)
        self._depth_size = (image.shape[0], image.shape[1])
        return image.astype(np.float32) / np.float32(DEPTH_SHIFT)

    def pose(self, rank: int) -> NDArray[np.float32]:
        """Return the (4, 4) camera-to-world matrix as stored."""
        return self._matrix(f"pose/{int(self.numbers[rank])}.txt").astype(np.float32)

    def camera(self, which: str) -> NDArray[np.float64]:
        """Return the (4, 4) camera matrix of the "color" or "depth" images."""
        return self._matrix(f"intrinsic/intrinsic_{which}.txt")

    def where(self, rank: int) -> str:
        """Return what to call a frame in messages."""
        return str(self._raw.root / self._colour_name(rank))

    def _colour_name(self, rank: int) -> str:
        return f"{self._folder}color/{self._colour[int(self.numbers[rank])]}"

    def _matrix(self, name: str) -> NDArray[np.float64]:
        return parse_matrix(self._raw.read(f"{self._folder}{name}"), self._raw.root / self._folder / name)


class SensFrames(SensFile):
    """A `.sens` recording as `Frames`: indexed when opened, blobs read on request.

    Raises:
        DatasetError: the recording is damaged.
    """

    kind = "sens"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self.index = self.read_index()
        except BaseException:
            self.close()
            raise
        self.numbers: NDArray[np.int64] = np.arange(self.header.frames, dtype=np.int64)
        self.depths = True
        self.depth_step = 1 / self.header.depth_shift
        self.notes = [] if self.index.imu_records is not None else ["the list of IMU records in the .sens is missing"]

    def colour(self, rank: int) -> bytes:
        """Return the colour image as stored; raw pixels as PNG."""
        blob = self.read_colour(self.index, rank)
        if self.header.colour_codec != "raw":
            return blob
        height, width = self.header.colour_size
        if len(blob) != height * width * 3:
            raise DatasetError(
                "a colour image has the wrong size", where=self.where(rank), expected=f"{height * width * 3} bytes",
                found=f"{len(blob)} bytes",
            )  # fmt: skip
        return encode_png(np.frombuffer(blob, np.uint8).reshape(height, width, 3), compress_level=1)

    def colour_size(self, sample: bytes) -> Size:
        """Return the (height, width) in the header."""
        return self.header.colour_size

    def depth(self, rank: int) -> NDArray[np.float32]:
        """Return the depth image in metres, (h, w), 0 = unknown."""
        return (self.read_depth(self.index, rank) / np.float32(self.header.depth_shift)).astype(np.float32)

    def pose(self, rank: int) -> NDArray[np.float32]:
        """Return the (4, 4) camera-to-world matrix as stored."""
        return np.array(self.index.poses[rank])

    def camera(self, which: str) -> NDArray[np.float64]:
        """Return the (4, 4) camera matrix of the "color" or "depth" images."""
        stored = self.header.intrinsic_colour if which == "color" else self.header.intrinsic_depth
        return stored.astype(np.float64)

    def where(self, rank: int) -> str:
        """Return what to call a frame in messages."""
        return f"{self.path}, frame {rank}"
