"""What must be true of a clip before it is written, and which camera poses are usable.

Invalid poses are flagged with the reason and never replaced.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from configs.errors import DatasetError
from data.dataset.clip import Clip
from data.dataset.layout import check_clip_id
from data.dataset.splits import SPLITS

OPENGL_TO_OPENCV = np.diag([1.0, -1.0, -1.0, 1.0])
"""A camera-to-world pose with OpenGL axes (y up, z backwards) times this has OpenCV axes."""
RIGID = 1e-3
"""Largest deviation of R R^T from the identity; also of written float32 poses."""


def check_clip(clip: Clip, n_classes: int) -> None:
    """Check a clip against the contract in `data.dataset.clip`.

    Raises:
        DatasetError: names the clip, the field, what was expected and what was found.
    """
    check_clip_id(clip.clip_id)
    count, dense = len(clip.frames), len(clip.gt_frames)
    if count == 0:
        raise DatasetError("a clip without frames", where=clip.clip_id)
    _array(clip, "frame_src", clip.frame_src, (count,), np.int64)
    _array(clip, "frame_dup", clip.frame_dup, (count,), np.bool_)
    _array(clip, "pose_valid", clip.pose_valid, (count,), np.bool_)
    _array(clip, "intrinsics", clip.intrinsics, (count, 3, 3), np.float32)
    _array(clip, "cam2world", clip.cam2world, (count, 4, 4), np.float32)
    _array(clip, "gt_frames", clip.gt_frames, (dense,), np.int32)
    positions = clip_positions(clip)
    _array(clip, "positions", positions, (count,), np.int32)
    _require(
        clip, "positions", bool((np.diff(positions) > 0).all() and positions[0] >= 0), "increasing, from 0", positions
    )
    _require(clip, "gt_frames", bool((np.diff(clip.gt_frames) > 0).all()), "increasing", clip.gt_frames)
    _require(clip, "gt_frames", bool(np.isin(clip.gt_frames, positions).all()), "among the positions", clip.gt_frames)
    _check_cameras(clip)
    height, width = clip.gt_size
    _require(clip, "gt_size", height > 0 and width > 0, "positive", clip.gt_size)
    if clip.depth is not None:
        _array(clip, "depth", clip.depth, (dense, height, width), np.float32)
        ok = bool(np.isfinite(clip.depth).all() and (clip.depth >= 0).all())
        _require(clip, "depth", ok, "finite and >= 0 (0 = unknown)", "NaN, infinite or negative values")
    if clip.confidence is not None:
        _require(clip, "confidence", clip.depth is not None, "given only with depth", "confidence without depth")
        _array(clip, "confidence", clip.confidence, (dense, height, width), np.float16)
        ok = bool(((clip.confidence >= 0) & (clip.confidence <= 1)).all())
        _require(clip, "confidence", ok, "within [0, 1]", "other values")
    _check_instances(clip, n_classes)
    _require(clip, "split", clip.split in (None, *SPLITS), f"one of {SPLITS} or None", clip.split)
    _check_frames(clip)


def clip_positions(clip: Clip) -> NDArray[np.int32]:
    """Return the clip positions of the frames, (T,) int32."""
    return np.arange(len(clip.frames), dtype=np.int32) if clip.positions is None else clip.positions


def _check_cameras(clip: Clip) -> None:
    poses = clip.cam2world[clip.pose_valid]
    _require(clip, "cam2world", bool(np.isfinite(poses).all()), "finite where pose_valid", "NaN or infinite values")
    rotations = poses[:, :3, :3].astype(np.float64)
    rigid = np.abs(rotations @ rotations.transpose(0, 2, 1) - np.eye(3)).max(initial=0.0) < RIGID
    proper = (np.linalg.det(rotations) > 0).all() if len(rotations) else True
    _require(clip, "cam2world", bool(rigid and proper), "rotations (orthonormal, det +1) where pose_valid", "others")
    focal = clip.intrinsics[:, [0, 1], [0, 1]]
    if np.isnan(clip.intrinsics).all():  # nothing is known of the camera, so nothing may rest on it
        unused = clip.depth is None and not clip.pose_valid.any()
        _require(clip, "intrinsics", unused, "known where there is depth or a valid pose", "all NaN")
        return
    _require(clip, "intrinsics", bool(np.isfinite(clip.intrinsics).all() and (focal > 0).all()), "fx, fy > 0", focal)


def _check_instances(clip: Clip, n_classes: int) -> None:
    ids = [item.id for item in clip.instances]
    _require(clip, "instances", ids == list(range(1, len(ids) + 1)), "ids 1..N in order", ids)
    classes = {item.class_index for item in clip.instances}
    _require(
        clip, "instances", classes <= set(range(-1, n_classes)), f"classes in -1..{n_classes - 1}", sorted(classes)
    )
    if clip.instance is not None:
        _array(clip, "instance", clip.instance, (len(clip.gt_frames), *clip.gt_size), np.uint16)
        highest = int(clip.instance.max(initial=0))
        _require(clip, "instance", highest <= len(ids), f"ids up to {len(ids)}", highest)
    if clip.class_pixels is not None:
        _array(clip, "class_pixels", clip.class_pixels, (len(clip.frames), n_classes), np.int32)
        _require(clip, "class_pixels", bool((clip.class_pixels >= 0).all()), "counts >= 0", clip.class_pixels.min())


def _check_frames(clip: Clip) -> None:
    from PIL import Image

    for position, content in zip(clip_positions(clip), clip.frames, strict=True):
        try:
            with Image.open(io.BytesIO(content)) as image:
                shape, form = (image.height, image.width), image.format
        except OSError as error:
            raise DatasetError(f"frame {position} is not an image: {error}", where=clip.clip_id) from error
        _require(clip, f"frame {position}", form == "JPEG", "JPEG", form)
        _require(clip, f"frame {position}", shape == clip.frame_size, f"{clip.frame_size} (height, width)", shape)


def _array(clip: Clip, name: str, value: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> None:
    expected = f"{np.dtype(dtype).name} {shape}"
    found = f"{getattr(value, 'dtype', type(value).__name__)} {getattr(value, 'shape', ())}"
    _require(clip, name, found == expected, expected, found)


def _require(clip: Clip, name: str, ok: bool, expected: object, found: object) -> None:
    if not ok:
        raise DatasetError(f"clip {clip.clip_id}: {name} breaks the contract", expected=expected, found=found)


def check_poses(cam2world: ArrayLike) -> tuple[NDArray[np.bool_], list[str]]:
    """Return which poses are rigid motions, (T,) bool, and for each the reason why not ("" where it is).

    A pose is unusable if it has NaN or infinite entries (lost tracking), a last row other than (0, 0, 0, 1), a mirrored
    rotation (determinant below 0), a scale, or a shear.

    Args:
        cam2world: (T, 4, 4) camera-to-world matrices.
    """
    poses = np.asarray(cam2world, np.float64)
    reasons = [_why_not(pose) for pose in poses]
    return np.array([not reason for reason in reasons], dtype=np.bool_), reasons


def _why_not(pose: NDArray[np.float64]) -> str:
    if not np.isfinite(pose).all():
        return "NaN or infinite entries"
    if not np.allclose(pose[3], (0, 0, 0, 1), rtol=0, atol=1e-6):
        return "the last row is not 0 0 0 1"
    rotation = pose[:3, :3]
    determinant = float(np.linalg.det(rotation))
    gram = rotation @ rotation.T
    if np.abs(gram - np.eye(3)).max() < RIGID and determinant > 0:
        return ""
    if abs(determinant) < 1e-9:
        return "the rotation is singular"
    scale = np.cbrt(abs(determinant))
    if np.abs(gram / scale**2 - np.eye(3)).max() >= RIGID:
        return "the rotation is sheared"
    if determinant < 0:
        return "the rotation is mirrored"
    return f"the rotation is scaled by {scale:.4g}"


def describe_invalid(reasons: list[str], numbers: ArrayLike | None = None, *, what: str = "invalid poses") -> list[str]:
    """Return one sentence per kind of fault, with the frames that have it, for a clip's warnings.

    Args:
        reasons: of `check_poses` or `data.raw.depth.doubtful_depth`; "" where nothing is wrong.
        numbers: (T,) what to call the frames; default 0..T-1.
        what: what the reasons are about.
    """
    names = np.arange(len(reasons)) if numbers is None else np.asarray(numbers)
    result = []
    for reason in sorted({r for r in reasons if r}):
        hit = [int(name) for name, r in zip(names, reasons, strict=True) if r == reason]
        shown = ", ".join(map(str, hit[:5])) + (", ..." if len(hit) > 5 else "")
        result.append(f"{len(hit)} {what} ({reason}): frames {shown}")
    return result
