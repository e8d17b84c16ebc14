"""The rooms as a source of clips, and how far image height gives distance away in each.

Any clip is made in any process from the configuration and its number alone. Of a pair of objects the farther one
usually stands higher in the image ("Why Far Looks Up", arXiv 2605.30161): such pairs are consistent, the opposite ones
counter, and those at almost the same height ambiguous.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import MissingError
from configs.identity import digest
from data.dataset.clip import Clip, DatasetInfo
from data.dataset.taxonomy import SCANNET20
from data.rooms.config import PAIR_CELLS, RoomsConfig
from data.rooms.recording import Recording, annotate, draw_faults, record, shaken
from data.rooms.scene import SHELL_LABELS
from data.rooms.world import World, build

GENERATOR_VERSION = 1
"""Raised whenever the same configuration would give another value."""
_CYCLE = {3: "select", 10: "select", 16: "select", 6: "report", 13: "report", 19: "report"}
"""Of every 20 rooms, 14 train, 3 select, 3 report; 8 rooms give 6, 1 and 1."""
_WIDE = dict.fromkeys((3, 8, 12), "select") | dict.fromkeys((2, 5, 7, 10, 13, 15), "report")
"""Of every 16 rooms, 7 train, 3 select, 6 report."""
AMBIGUOUS = 0.05
"""Pairs whose centres differ by less than this share of the image height tell nothing."""
MIN_SHARE = 12 / (96 * 128)
"""Objects below this share of the image's pixels don't count."""


class RoomsSource:
    """Makes the clips of one configuration.

    Args:
        config: checked on construction.

    Raises:
        ConfigError: keys contradict each other.
    """

    def __init__(self, config: RoomsConfig) -> None:
        config.check()
        self.config = config
        self._parameters = config.parameters()

    @property
    def info(self) -> DatasetInfo:
        """What is true of the whole dataset; `parameters` holds everything that changes a value."""
        return DatasetInfo(
            name=self.config.dataset,
            kind="rooms",
            maker_version=GENERATOR_VERSION,
            parameters=self._parameters,
            taxonomy=SCANNET20.name,
            class_names=SCANNET20.names,
            licence="generated; free of third-party content",
        )

    def clip_ids(self) -> Sequence[str]:
        """Return the clips in order: `room00012`, with `-k` where several clips share a room."""
        return [self._clip_id(number) for number in range(self.config.clips)]

    def make(self, clip_id: str) -> Clip:
        """Make one clip.

        Raises:
            MissingError: there is no such clip.
            DatasetError: no camera path suits the room.
        """
        number = self._number(clip_id)
        return _clip(self.config, self._parameters, build(self.config, number), clip_id)

    def world(self, clip_id: str) -> World:
        """Return what a clip shows, for whoever wants to render it otherwise."""
        return build(self.config, self._number(clip_id))

    def _clip_id(self, number: int) -> str:
        per_room = _per_room(self.config)
        room, variant = divmod(number, per_room)
        return f"{_prefix(self.config)}{room:05d}" + (f"-{variant}" if per_room > 1 else "")

    def _number(self, clip_id: str) -> int:
        found = re.fullmatch(r"[a-z]+([0-9]{5,9})(?:-([0-9]{1,6}))?", clip_id)
        number = int(found[1]) * _per_room(self.config) + int(found[2] or 0) if found else -1
        if not 0 <= number < self.config.clips or self._clip_id(number) != clip_id:
            raise MissingError(
                f"no clip {clip_id!r}", expected=f"{self._clip_id(0)} to {self._clip_id(self.config.clips - 1)}",
                fix="choose one of them, or raise clips=",
            )  # fmt: skip
        return number


def geometry_digest(instance: NDArray[np.uint16], depth: NDArray[np.float32]) -> str:
    """Return the SHA-256 of the exact instance and depth arrays, in this order, little-endian."""
    sha = hashlib.sha256(np.ascontiguousarray(instance, "<u2").tobytes())
    sha.update(np.ascontiguousarray(depth, "<f4").tobytes())
    return sha.hexdigest()


def _per_room(config: RoomsConfig) -> int:
    return PAIR_CELLS if config.mode == "tunnel_pair" else config.clips_per_room


def _prefix(config: RoomsConfig) -> str:
    return {"room": "room", "flip": "flip", "tunnel": "tunnel", "tunnel_pair": "pair"}[config.mode]


def _clip(config: RoomsConfig, parameters: Mapping[str, Any], world: World, clip_id: str) -> Clip:
    """Record a world and describe it as a clip."""
    labels, streams = world.scene.labels, world.streams
    faults = draw_faults(config, len(labels), len(SHELL_LABELS), streams.generator("sensor"))
    film = record(config, world, faults)
    source = faults.source[film.positions]
    poses = shaken(world.path, faults.pose_valid, config, streams.generator("sensor", 1))
    size = (world.camera.height, world.camera.width)
    noisy = config.depth_noise > 0 or config.depth_dropout > 0
    jittered = config.pose_jitter_m > 0 or config.pose_jitter_deg > 0 or config.invalid_pose_prob > 0
    annotation = annotate(labels, faults, film)
    return Clip(
        clip_id=clip_id,
        group_id=f"{_prefix(config)}{config.seed}-{streams.room:05d}",
        frames=film.images,
        frame_size=size,
        positions=film.positions,
        frame_src=source,
        frame_dup=source != film.positions,
        gt_size=size,
        intrinsics=np.repeat(world.camera.matrix[None], len(source), axis=0),
        cam2world=poses[source],
        pose_valid=faults.pose_valid[source],
        gt_frames=film.dense,
        instance=annotation.instance,
        depth=film.measured,
        instances=annotation.instances,
        class_pixels=annotation.class_pixels,
        split=split_of_room(config, streams.room),
        depth_kind="sensor" if noisy else "oracle",
        pose_kind="sensor" if jittered else "oracle",
        facts=_facts(config, world, film),
        sources={
            "parameters": digest({**parameters, "version": GENERATOR_VERSION, "clip": clip_id}),
            "geometry": geometry_digest(film.instance, film.depth),
        },
    )


def split_of_room(config: RoomsConfig, room: int) -> str | None:
    """Return the split that a room is in, None where the hash of its group decides."""
    if config.splits == "cycle":
        return _CYCLE.get(room % 20, "train")
    if config.splits == "wide":
        return _WIDE.get(room % 16, "train")
    return "report" if config.splits == "report" else None


def _facts(config: RoomsConfig, world: World, film: Recording) -> dict[str, float | int | str | bool | None]:
    """Return the facts of the clip for the index: what was asked for, and what came out of it."""
    sampled = (0, len(film.dense) // 2, len(film.dense) - 1)
    shortcuts = count_pairs((film.instance[row], film.depth[row]) for row in sampled)
    shares = shortcuts.shares()
    consistent, counter, ambiguous = shares if shares else (None, None, None)
    return {
        "mode": config.mode,
        "room_type": world.scene.room,
        "camera_family": world.family,
        "variant": world.streams.variant,
        "varied_stream": world.streams.varied if _per_room(config) > 1 else None,
        "gravity": -1 if config.mode == "flip" and world.streams.variant % 2 else 1,
        "n_objects": len(world.scene.objects),
        "vd_requested": config.vd if config.mode == "tunnel" else None,
        "vd_spearman": shortcuts.spearman,
        "pairs_consistent": consistent,
        "pairs_counter": counter,
        "pairs_ambiguous": ambiguous,
        "n_pairs": shortcuts.pairs,
        "path_attempts": world.attempts,
        "clearance_m": world.findings.clearance,
        "turn_deg": world.findings.turn,
        "n_visible": world.findings.visible,
        "overlap": world.findings.overlap,
    }


class Shortcuts(NamedTuple):
    """Counts over some frames; `spearman` is the mean over frames with three or more objects, or None."""

    consistent: int
    counter: int
    ambiguous: int
    spearman: float | None

    @property
    def pairs(self) -> int:
        """Number of pairs of objects."""
        return self.consistent + self.counter + self.ambiguous

    def shares(self) -> tuple[float, float, float] | None:
        """Return the shares of consistent, counter and ambiguous pairs; None without pairs."""
        if not self.pairs:
            return None
        return self.consistent / self.pairs, self.counter / self.pairs, self.ambiguous / self.pairs


def count_pairs(frames: Iterable[tuple[NDArray[np.uint16], NDArray[np.float32]]]) -> Shortcuts:
    """Count the pairs of objects in frames, walls, floor and ceiling left out.

    Args:
        frames: instance map and depth of each frame, (H, W); instances 1..6 are the shell.
    """
    tally, correlations = np.zeros(3, int), []
    for instance, depth in frames:
        rows, depths = _centres(instance, depth)
        if len(rows) > 2:
            correlations.append(_spearman(-rows, depths))
        first, second = np.triu_indices(len(rows), 1)
        lower = rows[first] - rows[second]
        ambiguous = np.abs(lower) < AMBIGUOUS * instance.shape[0]
        consistent = ~ambiguous & ((lower < 0) == (depths[first] > depths[second]))
        tally += [int(consistent.sum()), int((~ambiguous & ~consistent).sum()), int(ambiguous.sum())]
    mean = float(np.mean(correlations)) if correlations else None
    return Shortcuts(int(tally[0]), int(tally[1]), int(tally[2]), mean)


def _centres(
    instance: NDArray[np.uint16], depth: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean image row and median depth of every object that is large enough."""
    counts = np.bincount(instance.ravel())
    large = np.flatnonzero(counts >= max(1.0, MIN_SHARE * instance.size))
    rows, depths = [], []
    for number in large[large > len(SHELL_LABELS)]:
        at = np.nonzero(instance == number)
        rows.append(float(at[0].mean()))
        depths.append(float(np.median(depth[at])))
    return np.array(rows), np.array(depths)


def _spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    ranks = [np.argsort(np.argsort(values)) for values in (a, b)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
