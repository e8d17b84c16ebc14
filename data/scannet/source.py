"""ScanNet as a source of clips: any clip, in any process, reading only the frames that it keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.console import get_logger
from configs.errors import DatasetError, MissingError, SpatialprobeError
from configs.files import sha256_file
from configs.identity import digest
from data.dataset.clip import QUERY_POSITIONS, Clip, ClipRefused, DatasetInfo
from data.dataset.taxonomy import TAXONOMIES
from data.raw.folder import RawFolder
from data.scannet.config import ScannetConfig
from data.scannet.frames import count_frames, open_frames, scan_files
from data.scannet.labels import FILE_NAME, LabelTable, labels_by_name, read_labels
from data.scannet.recording import film
from data.scannet.scans import (
    POSITIONS,
    Scan,
    Window,
    all_windows,
    find_file,
    find_lists,
    find_scans,
    paper_window,
    read_lists,
    splits_of,
)

IMPORTER_VERSION = 1
"""Raised whenever the same raw data would give another value."""
log = get_logger("data.scannet")


class ScannetSource:
    """Makes the clips of a raw ScanNet folder.

    Args:
        config: checked on construction.
        raw: the raw folder; nothing outside it is read, except a labels table or lists that the options name.

    Raises:
        ConfigError: options contradict each other.
        MissingError: there are no scans, no labels table, or not the scenes asked for.
        DatasetError: labels table or split lists can't be used.
    """

    def __init__(self, config: ScannetConfig, raw: Path) -> None:
        config.check()
        self.config = config
        self.raw = RawFolder(raw)
        self._taxonomy = TAXONOMIES[config.taxonomy]
        self._labels = self._read_labels()
        lists = {} if config.lists == "none" else find_lists(self.raw, _unless_auto(config.lists))
        if config.lists not in ("auto", "none") and not lists:
            raise MissingError("no split lists", where=config.lists, expected="scannetv2_train.txt, scannetv2_val.txt")
        self._lists = {split: sha256_file(path) for split, path in lists.items()}
        scans = find_scans(self.raw)
        self._splits = splits_of(scans, read_lists(lists))
        self._stamps: dict[str, str] = {}
        self._scans = {scan.name: scan for scan in self._chosen(scans)}

    @property
    def info(self) -> DatasetInfo:
        """What is true of the whole dataset; `parameters` holds everything that changes a value."""
        ignored = ("dataset", "scenes", "labels", "lists", "licence")
        values = {key: value for key, value in vars(self.config).items() if key not in ignored}
        return DatasetInfo(
            name=self.config.dataset,
            kind="scannet",
            maker_version=IMPORTER_VERSION,
            parameters={**values, "labels_sha256": self._labels.sha256, "lists_sha256": self._lists},
            taxonomy=self._taxonomy.name,
            class_names=self._taxonomy.names,
            licence=self.config.licence,
        )

    def clip_ids(self) -> Sequence[str]:
        """Return the clips in order: the scan's name, with `-NNN` where a scan is cut into several."""
        if self.config.clips == "paper":
            return list(self._scans)
        return [f"{name}-{number:03d}" for name, scan in self._scans.items() for number in range(self._pieces(scan))]

    def make(self, clip_id: str) -> Clip:
        """Make one clip.

        Raises:
            MissingError: there is no such clip, or a file of it.
            ClipRefused: the scan has fewer than `min_frames` frames.
            DatasetError: raw data can't be used.
        """
        scan, number = self._scan_of(clip_id)
        with open_frames(self.raw, scan, self.config.source) as frames:
            count = len(frames.numbers)
            if count < self.config.min_frames:
                raise ClipRefused(
                    f"only {count} frames", where=self.raw.root / scan.folder,
                    expected=f"at least {self.config.min_frames}", fix="lower min_frames= to import it anyway",
                )  # fmt: skip
            window = self._window(count, number, clip_id)
            positions = window.frames()
            taken = film(self.config, self.raw, scan, frames, positions, self._dense(), self._labels, self._taxonomy)
        group, split, notes = self._place(scan, clip_id, number, count)
        return Clip(
            clip_id=clip_id,
            group_id=group,
            frames=taken.images,
            frame_size=taken.frame_size,
            frame_src=taken.numbers,
            frame_dup=_repeats(positions),
            gt_size=taken.gt_size,
            intrinsics=np.repeat(taken.camera[None].astype(np.float32), POSITIONS, axis=0),
            cam2world=taken.poses,
            pose_valid=taken.pose_valid,
            gt_frames=self._dense().astype(np.int32),
            instance=taken.annotation.instance if taken.annotation else None,
            depth=taken.depth,
            instances=taken.annotation.instances if taken.annotation else (),
            class_pixels=taken.annotation.class_pixels if taken.annotation else None,
            split=split,
            depth_kind="none" if taken.depth is None else "sensor",
            depth_step=frames.depth_step,
            pose_kind="sensor",
            facts={
                "scan": scan.name, "n_scan_frames": count, "first_frame": int(taken.numbers[0]),
                "last_frame": int(taken.numbers[-1]), "source": frames.kind, **taken.facts,
            },
            warnings=[*notes, *taken.warnings],
            sources={
                "stamp": self.stamp(clip_id),
                "parameters": digest({**self.info.parameters, "version": IMPORTER_VERSION}), **taken.digests,
            },
        )  # fmt: skip

    def stamp(self, clip_id: str) -> str:
        """Return a digest of the names and sizes of the scan's files, and of the content of its aggregation."""
        scan = self._scan_of(clip_id)[0]
        if scan.name not in self._stamps:
            self._stamps[scan.name] = digest(scan_files(self.raw, scan, self.config))
        return self._stamps[scan.name]

    def _scan_of(self, clip_id: str) -> tuple[Scan, int]:
        """Return the scan that a clip is of, and the clip's number in it."""
        found = re.fullmatch(r"(.+?)(?:-(\d{3,}))?", clip_id)
        scan = self._scans.get(found[1]) if found else None
        if found is None or scan is None or (found[2] is None) != (self.config.clips == "paper"):
            raise MissingError(
                f"no clip {clip_id!r}", where=self.raw.root, expected=f"such as {next(iter(self._scans))}"
            )
        return scan, int(found[2] or 0)

    def _window(self, count: int, number: int, clip_id: str) -> Window:
        if self.config.clips == "paper":
            return paper_window(count)
        windows = all_windows(count, self.config.window)
        if number >= len(windows):
            raise MissingError(f"no clip {clip_id!r}", expected=f"numbers below {len(windows)}", found=number)
        return windows[number]

    def _dense(self) -> NDArray[np.int64]:
        return np.arange(POSITIONS) if self.config.dense == "all" else np.array(QUERY_POSITIONS, np.int64)

    def _pieces(self, scan: Scan) -> int:
        """Number of clips of a scan; one for a scan that can't be read, whose clip then fails with the reason."""
        try:
            return len(all_windows(count_frames(self.raw, scan, self.config.source), self.config.window))
        except SpatialprobeError:
            return 1

    def _read_labels(self) -> LabelTable:
        if self.config.labels == "names":
            return labels_by_name(self._taxonomy)
        named = _unless_auto(self.config.labels)
        path = Path(named).expanduser().absolute() if named is not None else find_file(self.raw, FILE_NAME)
        if path is None or not path.is_file():
            if self.config.annotations == "none":
                return labels_by_name(self._taxonomy)
            raise MissingError(
                "no labels table", where=path or self.raw.root / FILE_NAME, expected=FILE_NAME,
                fix="copy the table there, add labels=/path/to/it, or labels=names to go by the class names alone",
            )  # fmt: skip
        return read_labels(path, self._taxonomy)

    def _chosen(self, scans: Sequence[Scan]) -> list[Scan]:
        known = {scan.name for scan in scans}
        if missing := [name for name in self.config.scenes if name not in known]:
            raise MissingError(f"no scan {missing[0]!r}", where=self.raw.root, found=f"{len(known)} others")
        wanted = [scan for scan in scans if not self.config.scenes or scan.name in self.config.scenes]
        left = [scan for scan in wanted if self._splits[scan.name] != "test"]
        if len(left) < len(wanted):
            log.info("%d scans of the test list are left out: they have no public annotation", len(wanted) - len(left))
        if not left:
            raise DatasetError("only scans of the test list", where=self.raw.root, expected="training or validation")
        return left

    def _place(self, scan: Scan, clip_id: str, number: int, count: int) -> tuple[str, str | None, list[str]]:
        """Return a clip's group, its official split, and warnings about them."""
        if self.config.splits == "within":
            left = len(all_windows(count, self.config.window)) - 1 - number
            split = {0: "report", 1: "select"}.get(left, "train")
            return clip_id, split, ["its scan is in several splits: scores say nothing of other rooms"]
        split_of_room = self._splits[scan.name]
        unlisted = bool(self._lists) and split_of_room is None
        return scan.room, split_of_room, ["the room is in no split list; a hash of its name decides"] * unlisted


def _unless_auto(text: str) -> str | None:
    return None if text == "auto" else text


def _repeats(positions: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which positions show a frame that an earlier one shows already."""
    return np.concatenate([[False], np.diff(positions) == 0])
