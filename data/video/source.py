"""Own videos and folders of pictures as a source of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.console import Progress
from configs.errors import DatasetError, MissingError
from configs.identity import digest, plain
from data.dataset.clip import QUERY_POSITIONS, Clip, ClipRefused, DatasetInfo
from data.raw.folder import natural_key, sizes_of
from data.video.config import VideoConfig
from data.video.discover import find_recordings
from data.video.footage import Footage, open_footage
from data.video.recording import Recording
from data.video.sampling import Window, sample, windows
from data.video.truth import read_truth

IMPORTER_VERSION = 1
"""Raised whenever the same recordings and options would give another value."""
CYCLE = ("train", "train", "train", "select", "report")


@dataclass(frozen=True)
class _Planned:
    """One clip to be: its recording and window, or why there is none."""

    recording: Recording
    footage: Footage | None = None
    window: Window | None = None
    error: DatasetError | None = None
    warnings: tuple[str, ...] = ()


class VideoSource:
    """Makes the clips of the recordings below a raw folder.

    Args:
        config: options, checked on construction.
        raw: a video, a folder, or a manifest.
        name: name of the prepared dataset.

    Raises:
        ConfigError: options contradict each other.
        DatasetError, MissingError: no recordings, or a broken manifest.
    """

    def __init__(self, config: VideoConfig, raw: Path, name: str = "video") -> None:
        config.check()
        self.config, self.name = config, name
        self.raw, self.collection = find_recordings(raw)
        self._splits = self._assign()
        self._plan: dict[str, _Planned] = {}
        self._stamps: dict[str, str] = {}
        recordings = self.collection.recordings
        with Progress(len(recordings), "listing frames", "recordings") as bar:
            for recording in recordings:
                self._add(recording)
                bar.advance()

    @property
    def info(self) -> DatasetInfo:
        """What is true of the whole dataset; recordings can be added later, options can't change."""
        parameters = self.config.parameters()
        if self.config.splits == "cycle":
            parameters["groups"] = sorted(self._splits)
        return DatasetInfo(
            name=self.name,
            kind="video",
            maker_version=IMPORTER_VERSION,
            parameters=parameters,
            taxonomy=self.collection.taxonomy,
            class_names=self.collection.class_names,
            licence=self.collection.licence,
            units=self.collection.units,
        )

    def clip_ids(self) -> Sequence[str]:
        """Return `<recording>-<number>` of every clip, also of those that can't be made."""
        return list(self._plan)

    def make(self, clip_id: str) -> Clip:
        """Make one clip.

        Raises:
            DatasetError: the recording can't be read or is damaged here.
            ClipRefused: the recording is too short.
        """
        planned = self._plan[clip_id]
        if planned.error is not None:
            raise planned.error
        recording, footage, window, config = planned.recording, planned.footage, planned.window, self.config
        assert footage is not None and window is not None
        numbers = window.frames
        frames, size, full = footage.read(numbers.tolist(), config.max_side, config.jpeg_quality)
        gt_frames = np.array([p for p in QUERY_POSITIONS if p < len(numbers)], np.int32)
        truth = read_truth(
            self.raw, recording, footage, numbers, gt_frames.astype(np.int64), full, config.gt_side,
            len(self.collection.class_names),
        )  # fmt: skip
        seconds = footage.seconds
        times = None if seconds is None else seconds[numbers]
        return Clip(
            clip_id=clip_id,
            group_id=recording.group,
            split=self._splits.get(recording.group),
            frames=frames,
            frame_size=size,
            frame_src=numbers,
            frame_dup=window.duplicate,
            gt_size=truth.gt_size,
            intrinsics=truth.intrinsics,
            cam2world=truth.cam2world,
            pose_valid=truth.pose_valid,
            gt_frames=gt_frames,
            instance=truth.instance,
            depth=truth.depth,
            instances=truth.instances,
            class_pixels=truth.class_pixels,
            depth_kind="none" if recording.depth is None else recording.depth.kind,
            depth_step=None if recording.depth is None else recording.depth.unit,
            pose_kind="given" if recording.poses else "none",
            facts={
                "start_s": None if times is None else round(float(times[0]), 4),
                "duration_s": None if times is None else round(float(times[-1] - times[0]), 4),
            },
            warnings=[*planned.warnings, *truth.warnings, *self._repeats(window)],
            sources={"stamp": self.stamp(clip_id)},
        )

    def stamp(self, clip_id: str) -> str:
        """Return a digest of what the clip is made from: the manifest's entry, names and sizes of the raw files."""
        planned = self._plan[clip_id]
        frames = None if planned.window is None else planned.window.frames.tolist()
        return digest({"recording": self._recording_stamp(planned.recording), "frames": frames})

    def _recording_stamp(self, recording: Recording) -> str:
        if recording.id not in self._stamps:
            maps = [item.folder for item in (recording.depth, recording.masks) if item is not None]
            sizes = [sizes_of([self.raw.path(name)]) for name in (recording.frames, *maps)]
            self._stamps[recording.id] = digest({"entry": plain(recording), "files": sizes})
        return self._stamps[recording.id]

    def _add(self, recording: Recording) -> None:
        """Plan the clips of one recording; one that can't be read, or is too short, becomes one clip that fails."""
        first = f"{recording.id}-000"
        footage: Footage | None = None
        try:
            footage = open_footage(self.raw, recording)
            where = str(self.raw.path(recording.frames))
            found = windows(sample(footage.count, footage.seconds, self.config, where), self.config, where)
        except (DatasetError, MissingError, OSError) as error:
            cut_off = "" if footage is None else footage.cut_off
            self._plan[first] = _Planned(recording, error=_as_dataset_error(error, recording, cut_off))
            return
        for number, window in enumerate(found):
            notes = footage.warnings
            self._plan[f"{recording.id}-{number:03d}"] = _Planned(recording, footage, window, warnings=notes)
        if footage.cut_off:
            lost = _cut_off(footage.cut_off, self.raw.path(recording.frames))
            self._plan[f"{recording.id}-lost"] = _Planned(recording, error=lost)

    def _assign(self) -> dict[str, str]:
        """Split of each group that the manifest or `splits=cycle` decides."""
        given = {r.group: r.split for r in self.collection.recordings if r.split is not None}
        if self.config.splits == "hash":
            return given
        free = sorted({r.group for r in self.collection.recordings} - given.keys(), key=natural_key)
        return {**given, **{group: CYCLE[i % len(CYCLE)] for i, group in enumerate(free)}}

    def _repeats(self, window: Window) -> list[str]:
        repeats = int(window.duplicate.sum())
        return [f"{repeats} of {len(window.duplicate)} frames repeat an earlier one"] if repeats else []


def _cut_off(what: str, path: Path) -> DatasetError:
    return DatasetError(
        f"the end of this recording is missing: {what}", where=path,
        fix="copy it again; or accept the loss with allowed_failures=, clips before the cut are made",
    )  # fmt: skip


def _as_dataset_error(error: Exception, recording: Recording, cut_off: str) -> DatasetError:
    """A short recording that lost its end is broken, not short."""
    if isinstance(error, ClipRefused) and cut_off:
        return _cut_off(cut_off, Path(str(error.where)))
    if isinstance(error, DatasetError):
        return error
    return DatasetError(f"the recording can't be read: {error}", where=recording.frames)
