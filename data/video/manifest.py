"""Reads `manifest.json`, in which a user says what is known about recordings: groups, splits, cameras, depth, masks.

Every key is checked, and a key that does not exist is an error that names the closest one. The format is described in
docs/use-your-own-clips.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from configs.errors import DatasetError
from configs.loader import closest
from data.dataset.layout import CLIP_NAME
from data.dataset.splits import SPLITS
from data.dataset.taxonomy import SCANNET20
from data.raw.folder import RawFolder, check_name, parse_json
from data.raw.video import SUFFIXES
from data.video.recording import Camera, Collection, DepthMaps, LabelledObject, Masks, Pose, Recording, frame_key

FORMAT, VERSION = "spatialprobe-recordings", 1
MANIFEST = "manifest.json"


def read_manifest(raw: RawFolder, name: str = MANIFEST) -> Collection:
    """Return the recordings that a manifest lists.

    Raises:
        DatasetError: the manifest breaks its format; says at which entry.
        MissingError: it, or a file of poses that it names, is not there.
    """
    path = raw.path(name)
    top = _Entry(parse_json(raw.read(name), path), path, "")
    top.keys("format", "version", "recordings", optional=("units", "licence", "classes"))
    if top.text("format") != FORMAT or top.get("version") != VERSION:
        raise top.error("another format", f'"format": "{FORMAT}", "version": {VERSION}')
    taxonomy, names, stuff = _classes(top)
    entries = top.list("recordings")
    recordings = tuple(_recording(entry, raw, names, stuff) for entry in entries)
    if not recordings:
        raise top.error("no recordings", "at least one")
    for what in ("id", "frames"):
        seen: set[str] = set()
        for entry, recording in zip(entries, recordings, strict=True):
            value = getattr(recording, what)
            if value.lower() in seen:
                raise entry.error(f"two recordings with the same {what} {value!r}")
            seen.add(value.lower())
    units = top.choice("units", ("metres", "arbitrary"), "metres")
    return Collection(
        recordings=recordings, units=units, taxonomy=taxonomy, class_names=names, stuff=stuff,
        licence=top.text("licence", "not stated"),
    )  # fmt: skip


class _Entry:
    """One object of the manifest, with its place for messages."""

    def __init__(self, value: Any, path: Path, place: str) -> None:
        self.path, self.place = path, place
        if not isinstance(value, dict):
            raise self.error("an object { ... } was expected", found=type(value).__name__)
        self.value: dict[str, Any] = value

    def error(self, problem: str, expected: object = None, *, found: object = None) -> DatasetError:
        """Return an error that names the manifest and the place in it."""
        return DatasetError(
            f"{problem} in {self.place or 'the manifest'}", expected=expected, found=found, where=self.path,
            fix="see docs/use-your-own-clips.md",
        )  # fmt: skip

    def keys(self, *needed: str, optional: Sequence[str] = ()) -> None:
        """Check that all needed keys are there and no unknown ones."""
        for key in self.value:
            if key not in needed and key not in optional:
                raise self.error(f"unknown key {key!r}", closest(key, [*needed, *optional]))
        missing = [key for key in needed if key not in self.value]
        if missing:
            raise self.error(f"{', '.join(missing)} must be given")

    def get(self, key: str) -> Any:
        """Return a value as it is, None where it is not given."""
        return self.value.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text that is not empty."""
        value = self.value.get(key, default)
        if not isinstance(value, str) or not value:
            raise self.error(f"{key} must be text", found=repr(value))
        return value

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """Return one of some words."""
        value = self.text(key, default)
        if value not in known:
            raise self.error(f"unknown {key} {value!r}", ", ".join(known))
        return value

    def number(self, key: str, *, positive: bool = True) -> float:
        """Return a number."""
        value = self.value.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or (positive and value <= 0):
            raise self.error(f"{key} must be a {'positive ' if positive else ''}number", found=repr(value))
        return float(value)

    def whole(self, key: str, least: int, most: int) -> int:
        """Return a whole number within limits."""
        value = self.value.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise self.error(f"{key} must be a whole number", f"{least} to {most}", found=repr(value))
        return value

    def list(self, key: str) -> list[_Entry]:
        """Return a list of objects."""
        value = self.value.get(key)
        if not isinstance(value, list):
            raise self.error(f"{key} must be a list", found=type(value).__name__)
        return [
            _Entry(item, self.path, f"{self.place}{'.' if self.place else ''}{key}[{i}]")
            for i, item in enumerate(value)
        ]

    def optional(self, key: str, read: Callable[[_Entry], Any]) -> Any:
        """Return what `read` makes of an object, None where it is not given."""
        if self.value.get(key) is None:
            return None
        return read(_Entry(self.value[key], self.path, f"{self.place}.{key}"))


def _classes(top: _Entry) -> tuple[str | None, tuple[str, ...], frozenset[int]]:
    value = top.get("classes")
    if value is None:
        return None, (), frozenset()
    if value == SCANNET20.name:
        return SCANNET20.name, SCANNET20.names, SCANNET20.stuff
    if not isinstance(value, list) or not value or not all(isinstance(name, str) and name for name in value):
        raise top.error("classes must be a list of names", f'["chair", "table"] or "{SCANNET20.name}"')
    if len(set(value)) != len(value):
        raise top.error("a class that is named twice", found=sorted({n for n in value if value.count(n) > 1}))
    return "own", tuple(value), frozenset()


def _recording(entry: _Entry, raw: RawFolder, names: tuple[str, ...], stuff: frozenset[int]) -> Recording:
    entry.keys(
        "id", "frames",
        optional=("group", "split", "stream", "fps", "axes", "camera", "poses", "depth", "instances"),
    )  # fmt: skip
    identity = entry.text("id")
    if not CLIP_NAME.fullmatch(identity) or len(identity) > 100:
        raise entry.error(f"id {identity!r} can't name a folder", "letters, digits, _ - and .")
    frames = _inside(entry, "frames", raw)
    is_video = not raw.path(frames).is_dir()
    if is_video and not frames.lower().endswith(SUFFIXES):
        raise entry.error("frames must be a video or a folder of pictures", ", ".join(SUFFIXES), found=frames)
    for key, wanted in (("fps", False), ("stream", True)):
        if entry.get(key) is not None and is_video != wanted:
            raise entry.error(f"{key} belongs to {'videos' if wanted else 'folders of pictures'}", found=frames)
    if entry.get("split") is not None and entry.get("split") not in SPLITS:
        raise entry.error("unknown split", ", ".join(SPLITS), found=repr(entry.get("split")))
    recording = Recording(
        id=identity, frames=frames, is_video=is_video,
        group=entry.text("group", identity), split=entry.get("split"),
        stream=None if entry.get("stream") is None else entry.whole("stream", 0, 1000),
        rate=None if entry.get("fps") is None else entry.number("fps"),
        axes="opengl" if entry.choice("axes", ("opencv", "opengl"), "opencv") == "opengl" else "opencv",
        camera=entry.optional("camera", _camera), poses=_poses(entry, raw, is_video),
        depth=entry.optional("depth", lambda item: _depth(item, raw)),
        masks=entry.optional("instances", lambda item: _masks(item, raw, names, stuff)),
    )  # fmt: skip
    each = all(pose.camera for pose in recording.poses)
    if not recording.camera and (recording.depth or not each):
        raise entry.error("poses and depth need a camera", '"camera": {"size": [width, height], "fx": ...}')
    return recording


def _inside(entry: _Entry, key: str, raw: RawFolder) -> str:
    name = entry.text(key)
    check_name(name, entry.path)
    if not raw.exists(name):
        raise entry.error(f"{key} names something that doesn't exist", found=name)
    return name


def _camera(entry: _Entry) -> Camera:
    entry.keys("size", "fx", "fy", "cx", "cy")
    size = entry.get("size")
    if not isinstance(size, list) or len(size) != 2 or not all(type(v) is int and v > 0 for v in size):
        raise entry.error("size must be [width, height] in pixels", found=repr(size))
    cx, cy = entry.number("cx"), entry.number("cy")
    if cx >= size[0] or cy >= size[1]:
        raise entry.error("the principal point lies outside the picture", f"within {size}", found=[cx, cy])
    return Camera(size=(size[1], size[0]), fx=entry.number("fx"), fy=entry.number("fy"), cx=cx, cy=cy)


def _poses(entry: _Entry, raw: RawFolder, is_video: bool) -> tuple[Pose, ...]:
    value = entry.get("poses")
    if value is None:
        return ()
    if isinstance(value, str):
        name = _inside(entry, "poses", raw)
        holder = _Entry({"poses": parse_json(raw.read(name), raw.path(name))}, raw.path(name), "")
        items = holder.list("poses")
    else:
        items = entry.list("poses")
    poses = [_pose(item) for item in items]
    seen: set[str] = set()
    for item, pose in zip(items, poses, strict=True):
        key = frame_key(pose.frame, is_video)
        if key in seen:
            raise item.error(f"two poses for frame {key}")
        seen.add(key)
    return tuple(poses)


def _pose(entry: _Entry) -> Pose:
    entry.keys("frame", "cam2world", optional=("camera",))
    frame, matrix = entry.get("frame"), entry.get("cam2world")
    if isinstance(frame, bool) or not isinstance(frame, (int, str)) or frame == "":
        raise entry.error("frame must be a number or a file name without ending", found=repr(frame))
    rows = matrix if isinstance(matrix, list) and len(matrix) == 4 else []
    if not rows or not all(isinstance(r, list) and len(r) == 4 and all(_is_number(v) for v in r) for r in rows):
        raise entry.error("cam2world must be a 4x4 matrix, row by row")
    return Pose(
        frame=str(frame), cam2world=tuple(tuple(float(v) for v in row) for row in rows),
        camera=entry.optional("camera", _camera),
    )  # fmt: skip


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _depth(entry: _Entry, raw: RawFolder) -> DepthMaps:
    entry.keys("folder", optional=("unit", "kind"))
    unit = entry.number("unit") if entry.get("unit") is not None else 0.001
    kind = entry.text("kind", "sensor")
    if kind == "none":
        raise entry.error('kind "none" contradicts the depth')
    return DepthMaps(folder=_inside(entry, "folder", raw), unit=unit, kind=kind)


def _masks(entry: _Entry, raw: RawFolder, names: tuple[str, ...], stuff: frozenset[int]) -> Masks:
    entry.keys("folder", optional=("objects",))
    folder = _inside(entry, "folder", raw)
    if entry.get("objects") is None:
        return Masks(folder=folder)
    objects: dict[int, LabelledObject] = {}
    for item in entry.list("objects"):
        found = _object(item, names, stuff)
        if found.id in objects:
            raise item.error(f"two objects with id {found.id}")
        objects[found.id] = found
    return Masks(folder=folder, objects=tuple(objects.values()))


def _object(entry: _Entry, names: tuple[str, ...], stuff: frozenset[int]) -> LabelledObject:
    entry.keys("id", optional=("class", "label", "thing"))
    name = entry.get("class")
    if name is not None and name not in names:
        known: Mapping[str, None] | Sequence[str] = names
        raise entry.error(f"unknown class {name!r}", closest(str(name), known) if names else 'add "classes": [...]')
    index = names.index(name) if name is not None else -1
    thing = entry.get("thing")
    if thing is None:
        thing = index not in stuff
    if not isinstance(thing, bool):
        raise entry.error("thing must be true or false", found=repr(thing))
    return LabelledObject(
        id=entry.whole("id", 1, 65535), class_index=index, label=entry.text("label", name or "unnamed"), thing=thing
    )
