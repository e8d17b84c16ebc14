"""What every source of data hands over for one clip, in memory, before it is written.

Conventions (the same on disk): pixel i covers [i, i+1) and its centre is i + 0.5; cameras have OpenCV axes (x right,
y down, z forward); poses are camera-to-world; depth is the z coordinate in the camera frame; lengths are metres where
the source knows them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError

QUERY_POSITIONS: tuple[int, ...] = (0, *range(1, 74, 4))
"""The 20 positions {0, 1, 5, ..., 73} of a clip whose features probes may ask for (protocol: query frames)."""


@dataclass(frozen=True, kw_only=True)
class Instance:
    """One annotated object of a clip.

    Attributes:
        id: value in the instance maps, 1..N without gaps inside a clip.
        class_index: index in the dataset's taxonomy, -1 outside it.
        raw_label: the annotation's own word.
        is_thing: False for walls, floors and other surfaces.
        source_id: the id in the raw annotation.
    """

    id: int
    class_index: int
    raw_label: str
    is_thing: bool
    source_id: int


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One clip of T positions with ground truth at G of them, ready to be written.

    Attributes:
        clip_id: unique in the dataset; letters, digits, `_`, `-` and `.`.
        group_id: room or scene; a group is never cut by a split.
        frames: T encoded JPEG images of one size.
        positions: (T,) increasing clip positions of the frames; None means 0..T-1. A clip of which only the query
            frames exist has T = 20 and positions {0, 1, 5, ..., 73}.
        frame_size: (height, width) of the frames in pixels.
        frame_src: (T,) number of each frame in the raw recording.
        frame_dup: (T,) bool, True where a position repeats an earlier frame.
        gt_size: (height, width) of the dense ground truth.
        intrinsics: (T, 3, 3) float32 camera matrices in pixels of `gt_size`; all NaN if nothing is known of the
            camera, which rules out depth and valid poses.
        cam2world: (T, 4, 4) float32 poses; where `pose_valid` is False the values are kept as they
            came, NaN or -inf included.
        pose_valid: (T,) bool.
        gt_frames: (G,) positions that have dense ground truth, increasing.
        instance: (G, H, W) uint16, 0 = none, else `Instance.id`; None if the source has no annotation.
        depth: (G, H, W) float32, 0 = unknown; None if there is none.
        confidence: (G, H, W) float16 in [0, 1], 1 = sure; None means 1 wherever depth is known.
        instances: the annotated objects.
        class_pixels: (T, C) int32 pixels of each class at `gt_size`, for all T positions; None without annotation.
        split: the official split if the source has one ("train", "select" or "report"), else None (a hash of
            the group decides).
        depth_kind: "oracle", "sensor", a teacher's name, or "none".
        depth_step: length of one step of the 16-bit values that depth was read from, None if it was not; not stored.
        pose_kind: the same for poses.
        facts: further numbers or short texts for the index, for example `vd_spearman`; the same keys in all clips.
        warnings: what is odd about the clip, one sentence each.
        sources: name -> SHA-256 of the raw files or parameters it was made from.
    """

    clip_id: str
    group_id: str
    frames: Sequence[bytes]
    frame_size: tuple[int, int]
    frame_src: NDArray[np.int64]
    frame_dup: NDArray[np.bool_]
    gt_size: tuple[int, int]
    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]
    pose_valid: NDArray[np.bool_]
    gt_frames: NDArray[np.int32]
    instance: NDArray[np.uint16] | None = None
    depth: NDArray[np.float32] | None = None
    confidence: NDArray[np.float16] | None = None
    instances: Sequence[Instance] = ()
    class_pixels: NDArray[np.int32] | None = None
    split: str | None = None
    depth_kind: str = "none"
    depth_step: float | None = None
    pose_kind: str = "none"
    positions: NDArray[np.int32] | None = None
    facts: Mapping[str, float | int | str | bool | None] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """What is true of a whole prepared dataset.

    Attributes:
        name: folder name below `datasets/`.
        kind: which importer or generator made it ("rooms", "scannet", "dl3dv", "video").
        maker_version: version of that importer's or generator's output; raised by hand when any value would change.
        parameters: everything that changes a value, JSON types only; hashed, compared and refused when different.
        taxonomy: name of the taxonomy, None without classes.
        class_names: names in index order.
        licence: one line on the terms of the data.
        units: "metres" or "arbitrary".
    """

    name: str
    kind: str
    maker_version: int
    parameters: Mapping[str, Any]
    taxonomy: str | None
    class_names: Sequence[str]
    licence: str
    units: str = "metres"


class ClipRefused(DatasetError):
    """The raw data is sound, but a stated rule makes no clip of it: too few frames, for example.

    Refused clips are listed with their reason and do not count as failures.
    """


class ClipSource(Protocol):
    """Something that can make the clips of a dataset, one at a time, in any process and any order.

    A source must survive pickling: it is sent to worker processes. Importers should also have a method
    `stamp(clip_id) -> str`, a cheap digest of the raw files and entries that a clip is made from, and put the same text
    into `Clip.sources["stamp"]`: a clip whose raw data has changed since it was made is then refused, not kept.
    """

    @property
    def info(self) -> DatasetInfo:
        """What is true of the whole dataset."""

    def clip_ids(self) -> Sequence[str]:
        """The clips in index order; cheap."""

    def make(self, clip_id: str) -> Clip:
        """Make one clip.

        Raises:
            DatasetError: its raw data can't be used; the message names the file and what is wrong with it.
            ClipRefused: a rule of the importer makes no clip of it.
        """


@runtime_checkable
class GetsReady(Protocol):
    """A source that has work to do in one go, before processes make its clips: a model that looks at all of them."""

    def get_ready(self, dataset: Path, todo: Sequence[str]) -> None:
        """Do that work for the clips that are still to be made; what it leaves in `dataset` must be resumable."""
