"""Turns what a manifest knows of a recording into the ground truth of one clip: cameras, depth, instances, classes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError
from data.dataset.check import OPENGL_TO_OPENCV, check_poses, describe_invalid
from data.dataset.clip import Instance
from data.raw.folder import RawFolder
from data.raw.images import Size, picture_size, read_depth, read_mask, resize_nearest
from data.video.footage import Footage, reduced
from data.video.recording import Camera, LabelledObject, Recording, frame_key

ASPECT = 0.02
"""Largest relative difference of shape between frames and their maps or camera."""


@dataclass
class Truth:
    """Ground truth of one clip, as the fields of `data.dataset.clip.Clip` of the same names want it."""

    gt_size: Size
    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]
    pose_valid: NDArray[np.bool_]
    depth: NDArray[np.float32] | None = None
    instance: NDArray[np.uint16] | None = None
    instances: tuple[Instance, ...] = ()
    class_pixels: NDArray[np.int32] | None = None
    warnings: list[str] = field(default_factory=list)


def read_truth(
    raw: RawFolder, recording: Recording, footage: Footage, numbers: NDArray[np.int64], dense: NDArray[np.int64],
    frame_size: Size, gt_side: int, n_classes: int,
) -> Truth:  # fmt: skip
    """Read the ground truth of a clip.

    Args:
        raw: folder of the raw data.
        recording: what is known.
        footage: names the frames.
        numbers: (T,) numbers of the clip's frames in the recording.
        dense: (G,) places among these T that get depth and instance maps.
        frame_size: (height, width) of the recording's frames as shown, before any reduction.
        gt_side: longer side of the maps, at most.
        n_classes: classes of the dataset.

    Raises:
        DatasetError: a map or camera does not fit the frames, can't be read, or none of a kind fits the clip.
    """
    names = [footage.name(int(number)) for number in numbers]
    depths = None if recording.depth is None else _Maps(raw, recording.depth.folder, recording.is_video, "depth map")
    masks = None if recording.masks is None else _Maps(raw, recording.masks.folder, recording.is_video, "mask")
    gt_size = frame_size
    for maps in (masks, depths):  # depth is the coarser of the two on phones, so it decides
        if maps is not None:
            gt_size = maps.size(names, frame_size)
    gt_size = reduced(gt_size, gt_side)
    truth = _cameras(recording, names, frame_size, gt_size)
    if depths is not None and recording.depth is not None:
        truth.depth = np.zeros((len(dense), *gt_size), np.float32)
        for i, place in enumerate(dense):
            values = depths.read(names[place], read_depth)
            if values is not None:
                truth.depth[i] = resize_nearest(values, gt_size).astype(np.float32) * np.float32(recording.depth.unit)
        truth.warnings += depths.describe_missing([names[place] for place in dense])
        if not truth.depth.any():
            raise DatasetError("all depth maps of this clip are empty", where=depths.path, expected="values above 0")
    if masks is not None and recording.masks is not None:
        _read_masks(truth, masks, recording.masks.objects, names, dense, n_classes)
    return truth


def _cameras(recording: Recording, names: list[str], frame_size: Size, gt_size: Size) -> Truth:
    """Intrinsics at the size of the ground truth, and poses; NaN where nothing is known."""
    count = len(names)
    intrinsics = np.full((count, 3, 3), np.nan, np.float32)
    poses = np.full((count, 4, 4), np.nan)
    by_name = {frame_key(pose.frame, recording.is_video): pose for pose in recording.poses}
    for i, name in enumerate(names):
        pose = by_name.get(name)
        camera = recording.camera if pose is None or pose.camera is None else pose.camera
        if camera is not None:
            _check_shape(camera.size, frame_size, f"{recording.id}: the camera's size")
            intrinsics[i] = _matrix(camera, gt_size)
        if pose is not None:
            matrix = np.asarray(pose.cam2world, np.float64)
            poses[i] = matrix @ OPENGL_TO_OPENCV if recording.axes == "opengl" else matrix
    valid = np.zeros(count, np.bool_)
    notes: list[str] = []
    if recording.poses:
        valid, reasons = check_poses(poses)
        absent = [name not in by_name for name in names]
        if all(absent):
            raise DatasetError(
                "no pose fits a frame of this clip", where=recording.id, expected=f"frames {names[0]} to {names[-1]}",
                found=f"poses of frames such as {recording.poses[0].frame}",
            )  # fmt: skip
        if any(absent):
            notes.append(f"{sum(absent)} of {count} frames have no pose")
        numbered = [reason for reason, gone in zip(reasons, absent, strict=True) if not gone]
        notes += describe_invalid(numbered, [i for i, gone in enumerate(absent) if not gone])
    if np.isnan(intrinsics).any() and not np.isnan(intrinsics).all():
        raise DatasetError("some frames have a camera and some have none", where=recording.id)
    return Truth(gt_size, intrinsics, poses.astype(np.float32), valid, warnings=notes)


def _matrix(camera: Camera, size: Size) -> NDArray[np.float32]:
    """Intrinsics in pixels of a picture of another size (pixel centres at +0.5, so pure factors)."""
    y, x = size[0] / camera.size[0], size[1] / camera.size[1]
    return np.array([[camera.fx * x, 0, camera.cx * x], [0, camera.fy * y, camera.cy * y], [0, 0, 1]], np.float32)


def _read_masks(
    truth: Truth, masks: _Maps, objects: tuple[LabelledObject, ...] | None, names: list[str],
    dense: NDArray[np.int64], n_classes: int,
) -> None:  # fmt: skip
    """Read all masks of a clip; give its ids new numbers without gaps; count classes in every frame."""
    size = truth.gt_size
    maps = np.zeros((len(names), *size), np.uint16)
    for i, name in enumerate(names):
        values = masks.read(name, read_mask)
        if values is not None:
            maps[i] = resize_nearest(values, size)
    truth.warnings += masks.describe_missing([names[place] for place in dense])
    present = [int(value) for value in np.unique(maps) if value]
    if not present:
        truth.warnings.append("no mask of this clip shows an object: all ids are 0")
    known = {item.id: item for item in objects or ()}
    strange = [value for value in present if value not in known]
    if objects is not None and strange:
        truth.warnings.append(f"ids without an entry in objects: {', '.join(map(str, strange[:8]))}")
    table = np.zeros(int(maps.max()) + 1, np.uint16)
    instances, classes = [], np.full(len(present) + 1, -1, np.int64)
    for new, old in enumerate(present, start=1):
        item = known.get(old) or LabelledObject(id=old, class_index=-1, label="unnamed", thing=True)
        table[old], classes[new] = new, item.class_index
        instances.append(
            Instance(id=new, class_index=item.class_index, raw_label=item.label, is_thing=item.thing, source_id=old)
        )
    maps = table[maps]
    truth.instances = tuple(instances)
    truth.instance = maps[dense]
    if n_classes:
        counts = np.zeros((len(names), n_classes), np.int32)
        for i in range(len(names)):
            of_class = classes[maps[i]]
            counts[i] = np.bincount(of_class[of_class >= 0], minlength=n_classes)
        truth.class_pixels = counts


class _Maps:
    """Depth maps or masks of a recording: PNGs in one folder, named like the frames."""

    def __init__(self, raw: RawFolder, folder: str, is_video: bool, what: str) -> None:
        self.raw, self.what, self.path = raw, what, raw.path(folder)
        self._names: dict[str, str] = {}
        for name in raw.names(folder):
            key = frame_key(Path(name).stem, is_video)
            other = self._names.setdefault(key, f"{folder}/{name}")
            if other != f"{folder}/{name}":
                raise DatasetError(
                    f"two files for the {what} of frame {key}", found=f"{Path(other).name} and {name}", where=self.path
                )
        self._size: Size | None = None

    def size(self, names: list[str], frame_size: Size) -> Size:
        """Return (height, width) of the maps, read from the first one that this clip has.

        Raises:
            DatasetError: it has none, or they have another shape than the frames.
        """
        for name in names:
            if name in self._names:
                self._size = picture_size(self.raw.read(self._names[name]), self._where(name))
                _check_shape(self._size, frame_size, str(self._where(name)))
                return self._size
        shown = sorted(self._names)[:3]
        raise DatasetError(
            f"no {self.what} fits a frame of this clip", where=self.path,
            expected=f"{names[0]}.png and so on, named like the frames", found=", ".join(shown) or "an empty folder",
        )  # fmt: skip

    def read(self, name: str, decode: Any) -> Any:
        """Return the map of a frame, None if there is none."""
        if name not in self._names:
            return None
        return decode(self.raw.read(self._names[name]), self._where(name), size=self._size)

    def describe_missing(self, names: list[str]) -> list[str]:
        """Return a sentence about query frames that have no map."""
        gone = [name for name in names if name not in self._names]
        return [f"{len(gone)} of {len(names)} query frames have no {self.what}"] if gone else []

    def _where(self, name: str) -> Path:
        return self.raw.path(self._names[name])


def _check_shape(size: Size, frame_size: Size, where: str) -> None:
    ratio = (size[1] / size[0]) / (frame_size[1] / frame_size[0])
    if abs(ratio - 1) > ASPECT:
        raise DatasetError(
            "another shape than the frames, as they are shown", expected=f"like {frame_size[1]}x{frame_size[0]}",
            found=f"{size[1]}x{size[0]}", where=where, fix="turn or crop it like the frames",
        )  # fmt: skip
