"""A small made-up source with everything that a prepared dataset must hold."""

from __future__ import annotations

import copy
import io
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from PIL import Image

from configs.errors import DatasetError
from data.dataset.clip import QUERY_POSITIONS, Clip, DatasetInfo, Instance
from data.dataset.taxonomy import SCANNET20


@dataclass(frozen=True)
class Shape:
    """What one toy clip looks like."""

    frames: int = 81
    frame_size: tuple[int, int] = (32, 40)
    gt_size: tuple[int, int] = (32, 40)
    invalid: tuple[int, ...] = ()
    query_only: bool = False
    split: str | None = None
    group: str = ""


def toy_clip(clip_id: str, shape: Shape, seed: int = 0) -> Clip:
    """A camera that slides along a wall 3 m away on which coloured squares hang: exact depth, ids and poses."""
    return copy.deepcopy(_drawn(clip_id, shape, seed))


@lru_cache(maxsize=32)
def _drawn(clip_id: str, shape: Shape, seed: int) -> Clip:
    number = sum(map(ord, clip_id)) + seed
    rng = np.random.default_rng(number)
    if shape.query_only:
        positions = np.array([p for p in QUERY_POSITIONS if p < shape.frames], np.int32)
    else:
        positions = np.arange(shape.frames, dtype=np.int32)
    gt_frames = np.array([p for p in QUERY_POSITIONS if p < shape.frames], np.int32)
    height, width = shape.gt_size
    focal = 0.9 * width
    k = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (len(positions), 1, 1))
    poses[:, 0, 3] = positions * np.float32(0.01)
    valid = ~np.isin(positions, shape.invalid)
    poses[~valid] = -np.inf
    squares = rng.integers(1, 4, (4, 24))  # id of each square of 0.5 m

    def ids_at(position: int, size: tuple[int, int]) -> np.ndarray:
        h, w = size
        x = ((np.arange(w) + 0.5) / w * width - width / 2) / focal * 3 + position * 0.01
        y = ((np.arange(h) + 0.5) / h * height - height / 2) / focal * 3
        row, column = np.clip(y // 0.5 + 2, 0, 3).astype(int), np.clip(x // 0.5 + 8, 0, 23).astype(int)
        ids: np.ndarray = squares[row[:, None], column[None]]
        return ids

    colours = rng.integers(0, 255, (4, 3), dtype=np.uint8)
    frames = []
    for position in positions:
        buffer = io.BytesIO()
        Image.fromarray(colours[ids_at(int(position), shape.frame_size)]).save(buffer, "JPEG", quality=90)
        frames.append(buffer.getvalue())
    instance = np.stack([ids_at(int(p), shape.gt_size) for p in gt_frames]).astype(np.uint16)
    counts = np.zeros((len(positions), 20), np.int32)
    for i, position in enumerate(positions):
        ids = ids_at(int(position), shape.gt_size)
        counts[i, 0], counts[i, 4] = (ids == 1).sum(), (ids == 2).sum()
    duplicate = np.zeros(len(positions), bool)
    duplicate[-1] = True
    return Clip(
        clip_id=clip_id,
        group_id=shape.group or clip_id,
        frames=frames,
        frame_size=shape.frame_size,
        frame_src=positions.astype(np.int64) * 3,
        frame_dup=duplicate,
        positions=positions if shape.query_only else None,
        gt_size=shape.gt_size,
        intrinsics=np.tile(k, (len(positions), 1, 1)),
        cam2world=poses,
        pose_valid=valid,
        gt_frames=gt_frames,
        instance=instance,
        depth=np.full((len(gt_frames), height, width), 3.0, np.float32),
        instances=[
            Instance(id=1, class_index=0, raw_label="wall", is_thing=False, source_id=10),
            Instance(id=2, class_index=4, raw_label="armchair", is_thing=True, source_id=20),
            Instance(id=3, class_index=-1, raw_label="ceiling", is_thing=False, source_id=31),
        ],
        class_pixels=counts,
        split=shape.split,
        depth_kind="oracle",
        pose_kind="oracle",
        facts={"brightness": float(colours.mean()), "note": "toy"},
        warnings=["frame 80 is repeated"] if shape.invalid else [],
    )


DEFAULT_SHAPES = {
    "plain_00": Shape(),
    "plain_01": Shape(),
    "long_00": Shape(frames=150, frame_size=(54, 96), gt_size=(28, 50)),
    "invalid_00": Shape(invalid=(3, 9)),
    "portrait_00": Shape(frame_size=(48, 32), gt_size=(48, 32)),
    "short_00": Shape(frames=30),
    "query_00": Shape(query_only=True),
}


@dataclass(frozen=True)
class ToySource:
    """Implements `ClipSource`; `delay` slows it down for tests that interrupt it, `broken` clips can't be made."""

    shapes: dict[str, Shape] = field(default_factory=lambda: dict(DEFAULT_SHAPES))
    seed: int = 0
    delay: float = 0.0
    broken: tuple[str, ...] = ()

    @property
    def info(self) -> DatasetInfo:
        return DatasetInfo(
            name="toy",
            kind="toy",
            maker_version=1,
            parameters={"seed": self.seed},
            taxonomy=SCANNET20.name,
            class_names=SCANNET20.names,
            licence="made up",
        )

    def clip_ids(self) -> Sequence[str]:
        return list(self.shapes)

    def make(self, clip_id: str) -> Clip:
        time.sleep(self.delay)
        if clip_id in self.broken:
            raise DatasetError("truncated recording", where=f"/raw/{clip_id}.sens")
        return toy_clip(clip_id, self.shapes[clip_id], self.seed)
