"""The frames that a clip keeps of a scan, and the ground truth of them: images, cameras, depth, annotation."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import MissingError
from data.dataset.check import check_poses, describe_invalid
from data.dataset.taxonomy import Taxonomy
from data.raw.folder import RawFolder
from data.raw.images import color_frame
from data.scannet.annotation import EMPTY_FACTS, Annotation, Request, is_annotated, read_annotation
from data.scannet.cameras import Matrix, Size, camera_matrix, check_centre, register, scaled
from data.scannet.config import ScannetConfig
from data.scannet.frames import Frames
from data.scannet.labels import LabelTable
from data.scannet.scans import Scan, frame_count_note, read_scene_text

LARGEST_GT = (540, 720)
"""Height and width of dense ground truth unless the options say otherwise (protocol: ScanNet masks)."""


@dataclass(frozen=True)
class Taken:
    """What was taken of a scan for one clip of T positions, G of them dense.

    Attributes:
        numbers: (T,) frame numbers in the recording.
        images: T JPEG images.
        frame_size, gt_size: (height, width).
        camera: (3, 3) camera matrix in pixels of `gt_size`.
        poses: (T, 4, 4) float32 as stored.
        pose_valid: (T,) bool.
        depth: (G, H, W) float32 metres, or None.
        annotation: the 2D annotation, or None.
        facts, warnings, digests: for the index.
    """

    numbers: NDArray[np.int64]
    images: list[bytes]
    frame_size: Size
    gt_size: Size
    camera: Matrix
    poses: NDArray[np.float32]
    pose_valid: NDArray[np.bool_]
    depth: NDArray[np.float32] | None
    annotation: Annotation | None
    facts: dict[str, Any]
    warnings: list[str]
    digests: dict[str, str]


def film(
    config: ScannetConfig,
    raw: RawFolder,
    scan: Scan,
    frames: Frames,
    ranks: NDArray[np.int64],
    dense: NDArray[np.int64],
    labels: LabelTable,
    taxonomy: Taxonomy,
) -> Taken:
    """Read what a clip needs of a scan, each frame once however often it repeats.

    Args:
        config: sizes, and what must be there.
        raw, scan, frames: the open scan.
        ranks: (T,) frame at each position, increasing.
        dense: (G,) positions with dense ground truth.
        labels, taxonomy: what annotators' words mean.

    Raises:
        MissingError, DatasetError: raw data is missing or can't be used.
    """
    numbers = frames.numbers[ranks]
    images, image_size, stored = _images(config, frames, ranks)
    frame_size = (config.frame_height, config.frame_width) if config.frame_height else image_size
    gt_size = (config.gt_height, config.gt_width) if config.gt_height else default_gt_size(image_size)
    where, centred = raw.root / scan.folder, config.principal == "centres"
    colour_camera = camera_matrix(frames.camera("color"), where, from_centres=centred)
    check_centre(colour_camera, image_size, "colour", where)
    camera = scaled(colour_camera, image_size, gt_size)
    poses = _once(ranks, frames.pose)
    valid, reasons = check_poses(poses)
    first = np.concatenate([[True], np.diff(ranks) > 0])
    shown = [reason for reason, new in zip(reasons, first, strict=True) if new]
    warnings = [*frames.notes, *describe_invalid(shown, numbers[first])]
    if repeats := int((~first).sum()):
        warnings.append(f"{repeats} of {len(ranks)} positions repeat a frame, since the window has too few")
    depth = None
    if _wanted(config.depth, frames.depths, "depth images", where, warnings):
        depth_camera = camera_matrix(frames.camera("depth"), where, from_centres=centred)

        def laid_over(rank: int) -> NDArray[np.float32]:
            measured = frames.depth(rank)
            check_centre(depth_camera, (measured.shape[0], measured.shape[1]), "depth", where)
            return register(measured, depth_camera, camera, gt_size)

        depth = _once(ranks[dense], laid_over)
    annotation = None
    if _wanted(config.annotations, is_annotated(raw, scan), "aggregation or instance images", where, warnings):
        want = Request(numbers, dense, image_size, gt_size)
        annotation = read_annotation(raw, scan, labels, taxonomy, want)
        warnings += annotation.warnings
    scene = read_scene_text(raw, scan)
    if note := frame_count_note(scene, len(frames.numbers)):
        warnings.append(note)
    known = None if depth is None else float((depth > 0).mean())
    return Taken(
        numbers, images, frame_size, gt_size, camera, poses, valid, depth, annotation,
        {
            "scene_type": scene.get("sceneType"), "depth_known": known,
            **(annotation.facts if annotation else EMPTY_FACTS),
        },
        warnings,
        {"frames": stored, **(annotation.digests if annotation else {})},
    )  # fmt: skip


def default_gt_size(image: Size) -> Size:
    """Return the size of images with no more pixels than 540x720, else that size, upright for upright images."""
    if image[0] * image[1] <= LARGEST_GT[0] * LARGEST_GT[1]:
        return image
    return LARGEST_GT if image[0] <= image[1] else LARGEST_GT[::-1]


def _images(config: ScannetConfig, frames: Frames, ranks: NDArray[np.int64]) -> tuple[list[bytes], Size, str]:
    """Checked JPEG images, the (height, width) of the stored ones, and a digest of the stored ones."""
    wanted = (config.frame_height, config.frame_width) if config.frame_height else None
    sha = hashlib.sha256()
    images: list[bytes] = []
    size: Size | None = None
    for place, rank in enumerate(ranks.tolist()):
        if place and rank == ranks[place - 1]:
            images.append(images[-1])
            continue
        content = frames.colour(rank)
        sha.update(content)
        size = size or frames.colour_size(content)
        images.append(
            color_frame(
                content, frames.where(rank), size=wanted, source_size=size, quality=config.jpeg_quality
            )
        )  # fmt: skip
    assert size is not None
    return images, size, sha.hexdigest()


def _once(ranks: NDArray[np.int64], read: Callable[[int], NDArray[np.float32]]) -> NDArray[np.float32]:
    """Stack what is read of each frame; a frame that follows itself is read once."""
    result: list[NDArray[np.float32]] = []
    for place, rank in enumerate(ranks.tolist()):
        result.append(result[-1] if place and rank == ranks[place - 1] else read(rank))
    return np.stack(result)


def _wanted(option: str, there: bool, what: str, where: Any, warnings: list[str]) -> bool:
    """Return whether to read something, by the option "require", "optional" or "none"; note what is missing.

    With "require" what is missing is read all the same, so that the error names the file.
    """
    if option == "none":
        return False
    if not there and option == "optional":
        warnings.append(f"no {what}")
        return False
    if not there and what.startswith("depth"):
        raise MissingError(
            f"the scan has no {what}", where=where, fix="export them too, or add depth=optional or depth=none"
        )
    return True
