"""Reads what an adapter wants of one clip: frames, and ground truth for the oracle."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.errors import DatasetError, MissingError
from data.dataset.clip import QUERY_POSITIONS
from extract.adapter import Adapter, ClipInput

if TYPE_CHECKING:
    from torch import Tensor

    from data.dataset.reader import PreparedDataset


class Prepared(NamedTuple):
    """One clip, ready for the device, with the seconds it took to read and to preprocess."""

    clip_id: str
    inputs: Mapping[str, Tensor]
    frames: int
    read_seconds: float
    preprocess_seconds: float


def read_clip(dataset: PreparedDataset, adapter: Adapter, clip_id: str) -> ClipInput:
    """Read the frames that the adapter's windows need; a short clip is continued by its last frame.

    Raises:
        DatasetError: the clip lacks frames inside its length that the model needs.
        CorruptionError: a file can't be decoded.
    """
    spec = adapter.spec
    present = dataset.positions(clip_id).tolist()
    length = present[-1] + 1
    wanted = spec.frames.decode(length)
    absent = sorted(set(wanted) - set(present))
    if absent:
        raise DatasetError(
            f"{spec.name} needs frames that this clip was prepared without",
            where=f"{dataset.name}/{clip_id}",
            expected=f"{len(set(wanted))} positions from {wanted[0]} to {wanted[-1]}",
            found=f"{len(absent)} of them are missing, the first is {absent[0]}",
            fix="prepare the dataset with all frames; only image models can use the query frames alone",
        )
    unique = sorted(set(wanted))
    decoded = dataset.frames(clip_id, unique)
    frames = decoded if len(unique) == len(wanted) else decoded[np.searchsorted(unique, wanted)]
    truth = _ground_truth(dataset, clip_id, wanted, spec.ground_truth) if spec.ground_truth else {}
    return ClipInput(clip_id=clip_id, frames=frames, length=length, ground_truth=truth)


def prepare(dataset: PreparedDataset, adapter: Adapter, clip_id: str, *, pin: bool) -> Prepared:
    """Read and preprocess one clip; called in reader threads."""
    started = time.perf_counter()
    clip = read_clip(dataset, adapter, clip_id)
    read = time.perf_counter()
    inputs = adapter.preprocess(clip)
    if pin:
        inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
    return Prepared(clip_id, inputs, len(clip.frames), read - started, time.perf_counter() - read)


def _ground_truth(
    dataset: PreparedDataset, clip_id: str, wanted: tuple[int, ...], kinds: tuple[str, ...]
) -> dict[str, NDArray[Any]]:
    """Read what is asked for at query frames; the last one that the clip has serves the padding."""
    have = dataset.query_positions(clip_id)
    at = [
        max((p for p in have if p <= position), default=have[0]) for position in wanted if position in QUERY_POSITIONS
    ]
    if len(at) != len(wanted):
        at = [max(p for p in have if p <= position) for position in wanted]
    truth: dict[str, NDArray[Any]] = {}
    try:
        if "depth" in kinds:
            truth["depth"] = dataset.depth(clip_id, at)
        if "instance" in kinds:
            truth["instance"] = dataset.instance_maps(clip_id, at)
    except MissingError as error:
        raise MissingError(
            f"{error.problem}, from which the oracle makes features", where=f"{dataset.name}/{clip_id}",
            fix="choose groups= without it: normal, depth and rays need depth and cameras, code and classes instances",
        ) from error  # fmt: skip
    if "cam2world" in kinds:
        cameras = dataset.cameras(clip_id, at)
        if not cameras.valid.all():
            raise MissingError(
                "the oracle needs the camera of every query frame", where=f"{dataset.name}/{clip_id}",
                fix="leave out normal and rays (groups=...), or the clip",
            )  # fmt: skip
        truth |= {"intrinsics": cameras.intrinsics, "cam2world": cameras.cam2world}
    if "class_of_instance" in kinds:
        table = dataset.instances(clip_id)
        classes = np.full(int(table["instance"].max() if len(table) else 0) + 1, -1, np.int64)
        classes[table["instance"].to_numpy(np.int64)] = table["class_index"].to_numpy(np.int64)
        truth["class_of_instance"] = classes
    return truth
