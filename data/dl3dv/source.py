"""DL3DV scenes as a source of clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from configs.console import Progress, get_logger
from configs.errors import DatasetError, MissingError
from configs.files import remove_stale
from configs.identity import digest
from data.dataset.clip import Clip, DatasetInfo
from data.dl3dv.config import DL3DVConfig
from data.dl3dv.footage import Scenery, read_footage
from data.dl3dv.geometry import Footage, Geometry, Teacher, agreement
from data.dl3dv.lens import displacement
from data.dl3dv.scenes import Scene, choose_scenes, find_scenes, list_frames, parts_of, scene_files, windows
from data.dl3dv.teachers import ColmapTeacher, NoTeacher, OracleTeacher
from data.dl3dv.vggt import VggtTeacher

IMPORTER_VERSION = 1
"""Raised whenever the same raw data and options would give another value."""
LICENCE = "DL3DV-10K terms of use: non-commercial research; see docs/import-dl3dv.md"
ANSWERS = "teacher"
"""Folder of a dataset under work that holds the teacher's answers for clips that are not made yet."""
AHEAD = 2

log = get_logger("data.dl3dv")


class DL3DVSource:
    """Makes clips of the scenes below a folder.

    Args:
        config: checked on construction.
        raw: folder of the raw data.

    Raises:
        ConfigError: keys contradict each other.
        DatasetError: there are no scenes, or a hash comes twice.
        MissingError: a scene asked for is not there.
        ModelError: the teacher's weights are not there.
    """

    def __init__(self, config: DL3DVConfig, raw: Path) -> None:
        config.check()
        self.config, self.raw = config, raw.absolute()
        self.teacher = _teacher_of(config)
        self._stamps: dict[str, str] = {}
        self._windows: dict[str, tuple[Scene, int]] = {}
        for scene in choose_scenes(find_scenes(self.raw), list(config.scenes)):
            for k in range(self._count(scene)):
                self._windows[f"{scene.name}-{k}" if config.clips == "all" else scene.name] = (scene, k)

    @property
    def info(self) -> DatasetInfo:
        """What is true of the whole dataset; `parameters` holds everything that changes a value."""
        return DatasetInfo(
            name=self.config.dataset,
            kind="dl3dv",
            maker_version=IMPORTER_VERSION,
            parameters={**self.config.parameters(), **self.teacher.parameters()},
            taxonomy=None,
            class_names=(),
            licence=LICENCE,
            units="metres" if self.config.teacher == "oracle" else "arbitrary",
        )

    def clip_ids(self) -> Sequence[str]:
        """Return the clips in order: the scene's hash, with `-k` where a scene may have several."""
        return list(self._windows)

    def make(self, clip_id: str) -> Clip:
        """Make one clip.

        Raises:
            DatasetError: a file of the scene is missing or broken; the message names it.
            ClipRefused: the scene has fewer than `min_frames` frames.
            MissingError: there is no such clip.
            ModelError: the teacher can't work.
        """
        scene, _ = self._find(clip_id)
        footage, scenery = self._read(clip_id)
        geometry = self.teacher.geometry(footage)
        return _clip(self.config, scene, footage, scenery, geometry, self.stamp(clip_id))

    def stamp(self, clip_id: str) -> str:
        """Return a digest of the names and sizes of the scene's files, and of the content of `transforms.json`."""
        scene, _ = self._find(clip_id)
        if scene.name not in self._stamps:
            self._stamps[scene.name] = digest(scene_files(scene, self.config.images, self.raw))
        return self._stamps[scene.name]

    def get_ready(self, dataset: Path, todo: Sequence[str]) -> None:
        """Let VGGT look at all clips that are still to be made, in batches, before processes make them.

        Its answers wait in `<dataset>/teacher/` until the clips are made; those already there are not asked for again.
        Clips with broken files are left out: `make` reports what is wrong with them.
        """
        if not isinstance(self.teacher, VggtTeacher):
            return
        folder = dataset / ANSWERS
        folder.mkdir(exist_ok=True)
        remove_stale(folder)
        self.teacher.use_store(folder)
        unknown = [clip_id for clip_id in todo if not self.teacher.known(clip_id)]
        if unknown:
            self.teacher.load()  # so that a missing package is an error before minutes of reading
        with Progress(len(unknown), "asking VGGT") as bar:
            for batch in _batches(self._footage(unknown), self.config.teacher_batch):
                for answer in self.teacher.ask(batch):
                    if isinstance(answer, DatasetError):
                        log.debug("left to make: %s", answer)
                    bar.advance()
        self.teacher.forget()

    def _footage(self, clip_ids: Sequence[str]) -> Iterator[Footage]:
        """Read clips in order, two ahead of the model."""
        with ThreadPoolExecutor(AHEAD) as pool:
            waiting: list[Future[tuple[Footage, Scenery]]] = []
            rest = list(clip_ids)
            try:
                while rest or waiting:
                    while rest and len(waiting) < AHEAD:
                        waiting.append(pool.submit(self._read, rest.pop(0)))
                    try:
                        yield waiting.pop(0).result()[0]
                    except (DatasetError, MissingError) as error:
                        log.debug("left to make: %s", error)
            finally:
                for future in waiting:
                    future.cancel()

    def _read(self, clip_id: str) -> tuple[Footage, Scenery]:
        scene, k = self._find(clip_id)
        return read_footage(self.config, self.raw, scene, clip_id, k)

    def _count(self, scene: Scene) -> int:
        """Number of windows of a scene; one where its frames can't be listed, for `make` to say why."""
        if self.config.clips != "all":
            return 1
        try:
            frames = parts_of(scene, self.config.images, self.raw).frames
            count = len(list_frames(frames, self.raw)[0]) if frames else 1
            return len(windows("all", scene.name, count, self.config.window))
        except (DatasetError, MissingError):
            return 1

    def _find(self, clip_id: str) -> tuple[Scene, int]:
        if clip_id not in self._windows:
            raise MissingError(f"no clip {clip_id!r}", expected=f"one of {len(self._windows)}", where=self.raw)
        return self._windows[clip_id]


def _teacher_of(config: DL3DVConfig) -> Teacher:
    """Return the teacher that `teacher=` names.

    Raises:
        ModelError: its weights or its package are missing.
    """
    if config.teacher == "vggt":
        return VggtTeacher(config.checkpoint, config.revision, config.teacher_side, config.device)
    if config.teacher == "oracle":
        return OracleTeacher()
    return ColmapTeacher() if config.teacher == "colmap" else NoTeacher()


def _batches(footages: Iterator[Footage], size: int) -> Iterator[list[Footage]]:
    """Group neighbours of one size and length."""
    batch: list[Footage] = []
    for footage in footages:
        alike = batch and (batch[0].frame_size, len(batch[0].frames)) == (footage.frame_size, len(footage.frames))
        if batch and (not alike or len(batch) == size):
            yield batch
            batch = []
        batch.append(footage)
    if batch:
        yield batch


def _clip(
    config: DL3DVConfig, scene: Scene, footage: Footage, scenery: Scenery, geometry: Geometry, stamp: str
) -> Clip:
    """Put together what was read and what the teacher says."""
    query = footage.query if geometry.depth is not None else ()
    facts, warnings = _facts(config, footage, scenery, geometry)
    return Clip(
        clip_id=footage.clip_id,
        group_id=scene.name,
        frames=footage.frames,
        frame_size=footage.frame_size,
        frame_src=scenery.numbers,
        frame_dup=scenery.repeated,
        gt_size=geometry.size,
        intrinsics=geometry.intrinsics,
        cam2world=geometry.cam2world,
        pose_valid=geometry.valid,
        gt_frames=np.array(query, np.int32),
        depth=geometry.depth,
        confidence=geometry.confidence,
        depth_kind=geometry.kind if geometry.depth is not None else "none",
        depth_step=geometry.depth_step,
        pose_kind=geometry.kind,
        facts=facts,
        warnings=[*scenery.warnings, *warnings, *geometry.warnings],
        sources={"stamp": stamp, **scenery.sources},
    )


def _facts(
    config: DL3DVConfig, footage: Footage, scenery: Scenery, geometry: Geometry
) -> tuple[dict[str, float | int | str | bool | None], list[str]]:
    """Return the facts of the clip for the index, and what deserves a warning."""
    lens, warnings = footage.lens, []
    off = None if lens is None else displacement(lens)
    if lens is not None and lens.distorted:
        how_far = "an unknown number of" if off is None or not np.isfinite(off) else f"up to {off:.1f}"
        warnings.append(f"distortion is kept: the stored pinhole intrinsics are {how_far} pixels off; see undistort=")
    posed = footage.registered & geometry.valid
    same = None
    if geometry.kind in ("vggt", "oracle"):
        same = agreement(footage.poses[posed], geometry.cam2world[posed].astype(np.float64))
    missing = int((~footage.registered).sum())
    if missing and footage.lens is not None:
        warnings.append(f"{missing} of {len(footage.frames)} frames are not registered in transforms.json")
    source = scenery.lens
    return {
        "batch": scenery.batch,
        "images": scenery.images,
        "scene_frames": scenery.window_of,
        "window_start": scenery.window.start,
        "n_unregistered": missing,
        "lens_model": None if source is None else "fisheye" if source.fisheye else "opencv",
        **{f"k{i + 1}": None if source is None else source.radial[i] for i in range(4)},
        **{f"p{i + 1}": None if source is None else source.tangential[i] for i in range(2)},
        "undistorted": bool(config.undistort),
        "distortion_px": off,
        "teacher": config.teacher,
        "teacher_frames": same.frames if same else 0,
        "teacher_rot_err_deg": same.rotation_deg if same else None,
        "teacher_ate": same.ate if same else None,
        "teacher_ate_relative": same.ate_relative if same else None,
        "teacher_scale": same.scale if same else None,
    }, warnings
