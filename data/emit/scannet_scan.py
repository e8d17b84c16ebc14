"""One room as a ScanNet recording, in memory: what is written as `.sens`, exported folder and annotation files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from configs.errors import ConfigError
from data.dataset.clip import Clip

MILLIMETRES = 1000
LARGEST_ID = 254
"""Instance images have 8 bits, and the projection code keeps the last value for itself."""


@dataclass(frozen=True)
class RawObject:
    """One object of the aggregation, numbered from 0, with the mesh segments that it is said to consist of."""

    number: int
    label: str
    segments: tuple[int, ...]


@dataclass(frozen=True)
class RawScan:
    """A recording of N frames.

    Attributes:
        name: `sceneRRRR_SS`.
        colour: N JPEG images.
        size: (height, width) of all images in pixels.
        depth: (N, H, W) uint16 millimetres, 0 = unknown.
        cam2world: (N, 4, 4) float32, -inf where tracking was lost.
        intrinsics: (3, 3) camera matrix of all images.
        masks: (N, H, W) uint8, 0 = none, else object number + 1.
        objects: the annotated objects.
        room_type: kind of room.
        imu_tail: whether the `.sens` file ends with the list of IMU records, as it should.
    """

    name: str
    colour: tuple[bytes, ...]
    size: tuple[int, int]
    depth: NDArray[np.uint16]
    cam2world: NDArray[np.float32]
    intrinsics: NDArray[np.float32]
    masks: NDArray[np.uint8]
    objects: tuple[RawObject, ...]
    room_type: str
    imu_tail: bool = True

    def frames(self, ranks: NDArray[np.int64]) -> dict[str, object]:
        """Return the per-frame fields for other frames, in the order of `ranks`; for `dataclasses.replace`."""
        return {
            "colour": tuple(self.colour[rank] for rank in ranks.tolist()),
            "depth": self.depth[ranks],
            "cam2world": self.cam2world[ranks],
            "masks": self.masks[ranks],
        }


def as_scan(clip: Clip, name: str, still: int = 0) -> RawScan:
    """Return a clip of the rooms, with dense ground truth at every position, as a recording.

    Args:
        clip: made with `render=all dense=all`.
        name: `sceneRRRR_SS`.
        still: how often the first and the last frame are repeated at the ends: the camera stands still there.

    Raises:
        ConfigError: more ids than 8-bit masks can hold.
    """
    assert clip.depth is not None and clip.instance is not None and len(clip.gt_frames) == len(clip.frames)
    if any(item.source_id > LARGEST_ID for item in clip.instances):
        raise ConfigError(
            "instance images have 8 bits", expected=f"ids up to {LARGEST_ID}",
            found=max(item.source_id for item in clip.instances), fix="lower id_gap= or objects=",
        )  # fmt: skip
    source_ids = np.array([0, *(item.source_id for item in clip.instances)], np.uint8)
    scan = RawScan(
        name=name,
        colour=tuple(clip.frames),
        size=clip.frame_size,
        depth=np.round(clip.depth * MILLIMETRES).clip(0, 65535).astype(np.uint16),
        cam2world=clip.cam2world,
        intrinsics=clip.intrinsics[0],
        masks=source_ids[clip.instance],
        objects=tuple(
            RawObject(item.source_id - 1, item.raw_label, tuple(range(3 * item.source_id, 3 * item.source_id + 3)))
            for item in clip.instances
        ),
        room_type=str(clip.facts["room_type"]),
    )
    last = len(clip.frames) - 1
    ranks = np.clip(np.arange(-still, last + 1 + still), 0, last)
    return RawScan(**{**vars(scan), **scan.frames(ranks)}) if still else scan
