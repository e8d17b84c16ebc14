"""One recording as the importer sees it: a video or a folder of pictures, and what is known about it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Camera:
    """A pinhole camera in pixels of a picture of `size` (height, width); pixel centres are at +0.5."""

    size: tuple[int, int]
    fx: float
    fy: float
    cx: float
    cy: float


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the camera was at one frame: camera-to-world, 4x4 row by row, in the axes that the recording names."""

    frame: str
    cam2world: tuple[tuple[float, ...], ...]
    camera: Camera | None = None


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """Depth as 16-bit PNGs in `folder`; `unit` is the length of one step, in the units of the manifest."""

    folder: str
    unit: float
    kind: str = "sensor"


@dataclass(frozen=True, kw_only=True)
class LabelledObject:
    """What a value in the masks means: class index in the manifest's classes (-1 none), a word, thing or surface."""

    id: int
    class_index: int
    label: str
    thing: bool


@dataclass(frozen=True, kw_only=True)
class Masks:
    """Instance ids as PNGs in `folder`, 0 = none; `objects` is None where nothing is known but the ids."""

    folder: str
    objects: tuple[LabelledObject, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One recording.

    Attributes:
        id: becomes the first part of its clips' ids.
        frames: file or folder below the raw folder.
        is_video: whether `frames` is a video file.
        stream: number of the video stream, None for the best one.
        rate: frames per second of a folder of pictures, None if unknown.
        group: recordings of one place; never cut by a split.
        split: "train", "select" or "report", None to let the group decide.
        axes: axes of the camera in `poses`.
        camera, poses, depth, masks: ground truth, where there is some.
    """

    id: str
    frames: str
    is_video: bool
    group: str
    stream: int | None = None
    rate: float | None = None
    split: str | None = None
    axes: Literal["opencv", "opengl"] = "opencv"
    camera: Camera | None = None
    poses: tuple[Pose, ...] = ()
    depth: DepthMaps | None = None
    masks: Masks | None = None


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All recordings below a raw folder, and what holds for all of them."""

    recordings: tuple[Recording, ...]
    units: str = "arbitrary"
    taxonomy: str | None = None
    class_names: tuple[str, ...] = ()
    licence: str = "not stated"
    stuff: frozenset[int] = field(default_factory=frozenset)


def frame_key(name: str, is_video: bool) -> str:
    """Return what maps and poses call a frame; those of videos go by number, with or without leading zeros."""
    return str(int(name)) if is_video and name.isdecimal() else name
