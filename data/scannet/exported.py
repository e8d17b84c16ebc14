"""The frames of an exported folder: color/<i>.jpg, depth/<i>.png, pose/<i>.txt and intrinsic/*.txt."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.raw.folder import RawFolder
from data.raw.images import picture_size, read_depth
from data.scannet.cameras import parse_matrix
from data.scannet.frames import Size
from data.scannet.scans import Scan

DEPTH_SHIFT = 1000
"""Units per metre of exported depth images."""
COLOUR_SUFFIXES = (".jpg", ".jpeg", ".png")


def exported_folder(raw: RawFolder, scan: Scan) -> str | None:
    """Return where a scan's exported frames are, relative to the raw folder; None if there are none."""
    for folder in (scan.inside("exported"), scan.folder):
        name = f"{folder}/color" if folder else "color"
        if raw.path(name).is_dir():
            return folder
    return None


def color_files(raw: RawFolder, folder: str) -> dict[int, str]:
    """Return frame number -> name of its colour image, increasing; names that are no numbers are left out.

    Raises:
        DatasetError: two files have the same number.
    """
    where = f"{folder}/color" if folder else "color"
    found: dict[int, str] = {}
    for name in raw.names(where, suffixes=COLOUR_SUFFIXES):
        stem = name.rpartition(".")[0]
        if not (stem.isascii() and stem.isdigit()):
            continue
        if int(stem) in found:
            raise DatasetError(
                f"two colour images of frame {int(stem)}", where=raw.root / where, found=f"{found[int(stem)]}, {name}",
                fix="remove one of them",
            )  # fmt: skip
        found[int(stem)] = name
    return dict(sorted(found.items()))


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
        self._colour = color_files(raw, folder)
        self.numbers: NDArray[np.int64] = np.array(list(self._colour), np.int64)
        self.depths = raw.exists(f"{self._folder}depth")
        self.notes: list[str] = []
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
