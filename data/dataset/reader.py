"""Reads a prepared dataset: small ground truth from tables loaded once, frames and dense ground truth on demand."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from configs import commands
from configs.errors import CorruptionError, MissingError
from configs.files import artifact_root, dataset_path
from configs.identity import digest
from configs.loader import closest
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.clip_files import (
    FileFacts,
    changed_files,
    check_dense,
    file_facts,
    mend_clip,
    read_clip_file,
    read_dense,
    recorded_files,
)
from data.dataset.layout import COMPARED, TABLES, check_clip_id, clip_folder, frame_name, read_identity
from data.dataset.splits import members
from data.dataset.tables import read_tables
from data.raw.images import decode_jpeg

if TYPE_CHECKING:
    import pandas as pd


class Cameras(NamedTuple):
    """Cameras at n positions: `intrinsics` (n, 3, 3) float32 in pixels of the ground truth, `cam2world` (n, 4, 4)
    float32, `valid` (n,) bool."""

    intrinsics: NDArray[np.float32]
    cam2world: NDArray[np.float32]
    valid: NDArray[np.bool_]


def prepared_folder(name: str, root: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of a dataset below the artifact root; nothing in it is read yet.

    Raises:
        MissingError: no such dataset; the message lists those there are and how to make one.
    """
    path = dataset_path(root, name)
    if not (path / "dataset.json").is_file():
        folder = artifact_root(root) / "datasets"
        known = sorted(p.parent.name for p in folder.glob("*/dataset.json"))
        raise MissingError(
            f"no prepared dataset {name!r}", where=folder, found=closest(name, known),
            fix=commands.prepare_dataset(name, root=root),
        )  # fmt: skip
    return path


class DatasetIndex:
    """Identity and index of a finished prepared dataset: which clips it has now, and what they were made from.

    Attributes:
        path: its folder.
        identity: content of dataset.json.
        clips: index, one row per clip, indexed by clip id.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read dataset.json and the index of the dataset in a folder; its ground truth is not loaded.

        Raises:
            MissingError: no dataset there, or one that `prepare` has not finished.
            CorruptionError, VersionError, DatasetError: it can't be used; the message names the file.
        """
        self.path = Path(path)
        self.identity = read_identity(self.path)
        self._tables = read_tables(self.path, self._read)
        self.clips: pd.DataFrame = self._tables.pop("index.parquet").set_index("clip_id", drop=False)
        for clip_id in self.clips["clip_id"].to_list():
            check_clip_id(str(clip_id))

    _read: ClassVar[Sequence[str]] = ("index.parquet",)

    @classmethod
    def open(cls, name: str, root: str | os.PathLike[str] | None = None) -> Self:
        """Open a dataset by name below the artifact root.

        Raises:
            MissingError: no such dataset; the message lists those there are and how to make one.
        """
        return cls(prepared_folder(name, root))

    @property
    def name(self) -> str:
        """Name of the dataset's folder."""
        return self.path.name

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that the dataset was made from."""
        return str(self.identity["parameters_sha256"])

    @property
    def made_from(self) -> dict[str, Any]:
        """What `fingerprint` is the digest of: kind, parameters, splits, classes; kept with features and results."""
        return {key: self.identity[key] for key in COMPARED}

    @property
    def rooms(self) -> dict[str, str]:
        """Clip id -> room, of all clips."""
        return {str(clip_id): str(room) for clip_id, room in self.clips["group_id"].items()}

    def split(self, split: str, scheme: str = "standard") -> list[str]:
        """Return the sorted clip ids of "train", "select" or "report" (see `data.dataset.splits.members`)."""
        return members(dict(zip(self.clips["clip_id"], self.clips["split"], strict=True)), split, scheme)

    def content_digest(self, clip_ids: Sequence[str]) -> str:
        """Return what stands for frames and ground truth of some clips: a digest of the digests of their files.

        Raises:
            MissingError: no such clip.
        """
        unknown = [clip_id for clip_id in clip_ids if clip_id not in self.clips.index]
        if unknown:
            raise MissingError(
                f"no clip {unknown[0]!r} in {self.name}", where=self.path, found=closest(unknown[0], self.clips.index)
            )
        found = self.clips.loc[list(clip_ids), "clip_sha256"]
        return digest(list(zip(clip_ids, map(str, found), strict=True)))


class PreparedDataset(DatasetIndex):
    """A finished prepared dataset, opened for reading.

    Attributes:
        class_names: names of the classes in index order.
    """

    _read = TABLES

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the dataset in a folder.

        Raises:
            MissingError: no dataset there, or one that `prepare` has not finished.
            CorruptionError, VersionError, DatasetError: it can't be used; the message names the file.
        """
        super().__init__(path)
        self._instances = self._tables.pop("instances.parquet")
        self.class_names: tuple[str, ...] = tuple(self.identity["class_names"])
        frames = self._tables.pop("frames.parquet")
        count = len(frames)
        self._positions = frames["position"].to_numpy(np.int32)
        self._source = frames["frame_src"].to_numpy(np.int64)
        self._duplicate = frames["frame_dup"].to_numpy(np.bool_)
        self._valid = frames["pose_valid"].to_numpy(np.bool_)
        self._cam2world = _stack(frames["cam2world"], np.float32).reshape(count, 4, 4)
        self._intrinsics = _stack(frames["intrinsics"], np.float32).reshape(count, 3, 3)
        counts = frames["class_pixels"]
        self._has_counts = counts.notna().to_numpy()
        blank = np.zeros(len(self.class_names), np.int32)
        self._counts = _stack([blank if c is None else c for c in counts], np.int32).reshape(count, -1)
        self._rows = _slices(frames["clip_id"].to_list())
        self._compared: dict[tuple[int, str, str], bool] = {}

    def frame_size(self, clip_id: str) -> tuple[int, int]:
        """Return (height, width) of a clip's frames."""
        return self._size(clip_id, "rgb")

    def gt_size(self, clip_id: str) -> tuple[int, int]:
        """Return (height, width) of a clip's dense ground truth."""
        return self._size(clip_id, "gt")

    def positions(self, clip_id: str) -> NDArray[np.int32]:
        """Return the clip positions that have a frame, (T,) int32, increasing."""
        result: NDArray[np.int32] = self._positions[self._slice(clip_id)]
        return result

    def query_positions(self, clip_id: str) -> tuple[int, ...]:
        """Return the query positions {0, 1, 5, ..., 73} that this clip has."""
        return tuple(sorted(set(QUERY_POSITIONS) & set(self.positions(clip_id).tolist())))

    def sources(self, clip_id: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return for all T positions the frame number in the raw recording and whether it repeats an earlier one."""
        rows = self._slice(clip_id)
        return self._source[rows], self._duplicate[rows]

    def cameras(self, clip_id: str, positions: Sequence[int]) -> Cameras:
        """Return the cameras at some positions."""
        rows = self._find(clip_id, positions)
        return Cameras(self._intrinsics[rows], self._cam2world[rows], self._valid[rows])

    def class_pixels(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.int32]:
        """Return pixels of each class at some positions, (n, C) int32, counted at the size of the ground truth.

        Raises:
            MissingError: the clip is not annotated.
        """
        rows = self._find(clip_id, positions)
        if not self._has_counts[rows].all():
            raise MissingError("this clip has no class counts", where=f"{self.name}/{clip_id}")
        return self._counts[rows]

    def instances(self, clip_id: str) -> pd.DataFrame:
        """Return the instances of a clip: instance, class_index, raw_label, is_thing, source_id, n_frames, pixels."""
        self._slice(clip_id)
        return self._instances_by_clip.get(clip_id, self._instances.iloc[:0])

    @cached_property
    def _instances_by_clip(self) -> dict[str, pd.DataFrame]:
        return {str(key): rows.reset_index(drop=True) for key, rows in self._instances.groupby("clip_id", sort=False)}

    def frame_bytes(self, clip_id: str, position: int) -> bytes:
        """Return the stored JPEG of one position, compared with the digest taken when the clip was prepared.

        Raises:
            MissingError: no such clip or position.
            CorruptionError: the file is missing, or another one.
        """
        self._find(clip_id, [position])
        name = frame_name(position)
        return read_clip_file(self.path, clip_id, name, file_facts(self.path, clip_id, self._files(clip_id), name))

    def frames(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.uint8]:
        """Return decoded frames, (n, H, W, 3) uint8 RGB.

        Raises:
            MissingError: no such clip or position.
            CorruptionError: a JPEG is not the one that was prepared, or can't be decoded.
        """
        self._find(clip_id, positions)
        result = np.empty((len(positions), *self.frame_size(clip_id), 3), np.uint8)
        files = self._files(clip_id)
        for i, name in enumerate(frame_name(int(position)) for position in positions):
            content = read_clip_file(self.path, clip_id, name, file_facts(self.path, clip_id, files, name))
            try:
                result[i] = decode_jpeg(content)
            except ValueError as error:  # also: pixels of another size
                path = clip_folder(self.path, clip_id) / name
                raise CorruptionError(
                    f"not a readable JPEG: {error}", where=path, fix=mend_clip(self.path, clip_id)
                ) from error
        return result

    def depth(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.float32]:
        """Return depth (n, H, W) float32 in the dataset's units, 0 = unknown.

        Here and in the next two, the files of a clip are compared with their digests on the first read of a process.

        Raises:
            MissingError: the clip has none, or not at one of the positions.
            CorruptionError: a file has changed since the clip was prepared.
        """
        return self._dense(clip_id, "depth", positions)

    def instance_maps(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.uint16]:
        """Return instance ids (n, H, W) uint16, 0 = none; errors as `depth`."""
        return self._dense(clip_id, "instance", positions)

    def confidence(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.float16] | None:
        """Return the confidence of depth (n, H, W) float16 in [0, 1], or None: 1 wherever depth is known."""
        return self._dense(clip_id, "confidence", positions) if self._has_dense(clip_id, "confidence") else None

    def _dense(self, clip_id: str, name: str, positions: Sequence[int]) -> NDArray[Any]:
        self._has_dense(clip_id, name)
        folder = clip_folder(self.path, clip_id) / "gt.zarr"
        return read_dense(folder, name, positions, str(self.clips.at[clip_id, "clip_sha256"]))

    def _has_dense(self, clip_id: str, name: str) -> bool:
        """Return whether a clip has a dense array; the first time in a process its files are compared."""
        key = (os.getpid(), clip_id, name)  # what the parent of a fork has compared doesn't count
        if key not in self._compared:
            self._compared[key] = check_dense(self.path, clip_id, name, self._files(clip_id))
        return self._compared[key]

    def changed_files(self, clip_id: str) -> list[Path]:
        """Return the files of a clip that have changed since it was prepared, found cheaply.

        Files that are no newer than the clip's record and have their size are taken to be unchanged.

        Raises:
            MissingError: no such clip.
            CorruptionError: the record is damaged, or not the one in the index.
        """
        self._slice(clip_id)
        files = recorded_files(self.path, clip_id, str(self.clips.at[clip_id, "clip_sha256"]))
        return changed_files(self.path, clip_id, files)

    def _files(self, clip_id: str) -> Mapping[str, FileFacts]:
        self._slice(clip_id)
        return _remembered_files(self.path, clip_id, str(self.clips.at[clip_id, "clip_sha256"]))

    def _size(self, clip_id: str, what: str) -> tuple[int, int]:
        self._slice(clip_id)
        row = self.clips.loc[clip_id].to_dict()
        return int(row[f"{what}_h"]), int(row[f"{what}_w"])

    def _slice(self, clip_id: str) -> Any:
        rows = self._rows.get(clip_id)
        if rows is None:
            raise MissingError(
                f"no clip {clip_id!r} in {self.name}", where=self.path, found=closest(clip_id, self._rows)
            )
        return rows

    def _find(self, clip_id: str, positions: Sequence[int]) -> NDArray[np.intp]:
        rows = self._slice(clip_id)
        have, wanted = self._positions[rows], np.asarray(positions)
        found = np.searchsorted(have, wanted)
        bad = (found >= len(have)) | (have[np.minimum(found, len(have) - 1)] != wanted)
        if bad.any():
            raise MissingError(
                f"clip {clip_id} has no position {wanted[bad][0]}",
                expected=f"one of {have.tolist()}",
                where=self.path,
            )
        return found + rows.start  # type: ignore[no-any-return]


_remembered_files = lru_cache(maxsize=64)(recorded_files)
"""All frames of a clip are read one after the other, with one look at its record."""


def _slices(clip_ids: Sequence[str]) -> dict[str, slice]:
    """Rows of each clip in a table whose rows are grouped by clip."""
    starts = [i for i, clip_id in enumerate(clip_ids) if i == 0 or clip_id != clip_ids[i - 1]]
    return {clip_ids[i]: slice(i, j) for i, j in zip(starts, [*starts[1:], len(clip_ids)], strict=True)}


def _stack(values: Any, dtype: Any) -> NDArray[Any]:
    return np.stack(list(values)).astype(dtype, copy=False) if len(values) else np.empty((0,), dtype)
