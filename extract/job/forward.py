"""From clips on disk to pooled features on the CPU: read, preprocess, batch, run, pool, fetch."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cache.format.spec import ArraySpec, torch_dtype
from configs.errors import DatasetError, MissingError, ModelError
from data.dataset.clip import QUERY_POSITIONS
from data.dataset.reader import PreparedDataset
from extract.adapter import Adapter, Batch, ClipInput, Tap
from extract.readout import pool_to_grid

if TYPE_CHECKING:
    from torch import Tensor


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
        DatasetError: the clip has no frames, or lacks frames inside its length that the model needs.
        CorruptionError: a file can't be decoded.
    """
    spec = adapter.spec
    present = dataset.positions(clip_id).tolist()
    if not present:
        raise DatasetError("the clip has no frames", where=f"{dataset.name}/{clip_id}", expected="at least 1", found=0)
    length = present[-1] + 1
    wanted = tuple(min(position, length - 1) for position in spec.frames.positions)
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
    """Read the requested arrays at query frames; slots beyond the clip's end repeat the last frame."""
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


@dataclass
class Result:
    """Features of a batch on their way to the CPU.

    Attributes:
        arrays: array name -> (B, rows, y, x, C) on the CPU, complete once `wait` has returned.
        batch: clips that ran together.
        wait: blocks until the values have arrived and returns the seconds that the device was busy.
    """

    arrays: Mapping[str, Tensor]
    batch: int
    wait: Callable[[], float]


@dataclass
class Device:
    """Runs one adapter on one device, in one thread.

    Attributes:
        adapter: with the taps loaded.
        name: torch device.
        arrays: array name -> tap and specification.
        automatic: whether a batch that does not fit is cut in halves.
    """

    adapter: Adapter
    name: str
    arrays: Mapping[str, tuple[Tap, ArraySpec]]
    automatic: bool = False
    largest: int = field(default=1 << 30)

    def __post_init__(self) -> None:
        # overflow to float16 is left to the writer, which refuses it, so that dtype is not cast to here
        self._dtypes = {
            name: None if spec.dtype == "float16" else torch_dtype(spec.dtype)
            for name, (_, spec) in self.arrays.items()
        }
        self._keys = {name: tap.key for name, (tap, _) in self.arrays.items()}

    def run(self, clips: Sequence[Prepared]) -> list[Result]:
        """Run some clips together, or in smaller batches where memory asks for it; results in the order of the clips.

        Raises:
            ModelError: not even one clip fits.
        """
        import torch

        results: list[Result] = []
        todo = list(clips)
        while todo:
            size = min(len(todo), self.largest)
            try:
                results.append(self._forward(todo[:size]))
            except torch.OutOfMemoryError as error:
                if size == 1 or not self.automatic:
                    raise ModelError(
                        f"a batch of {size} does not fit in the memory of {self.name}",
                        found=str(error).split("\n")[0],
                        fix=("batch=1, " if size > 1 else "") + "a smaller model, or a device with more memory",
                    ) from error
                torch.cuda.empty_cache()
                self.largest = size // 2
                continue
            todo = todo[size:]
        return results

    def _forward(self, clips: Sequence[Prepared]) -> Result:
        import torch

        cuda = self.name.startswith("cuda")
        started = time.perf_counter()
        if cuda:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
            begin.record()
        inputs = {
            name: torch.stack([clip.inputs[name].to(self.name, non_blocking=True) for clip in clips])
            for name in clips[0].inputs
        }
        with torch.inference_mode():
            features = self.adapter.forward(Batch(clip_ids=[clip.clip_id for clip in clips], inputs=inputs))
            found = {}
            for name, (_, spec) in self.arrays.items():
                pooled = pool_to_grid(features[self._keys[name]], spec.grid)
                found[name] = _to_cpu(pooled.to(self._dtypes[name] or pooled.dtype), cuda)
        if not cuda:
            busy = time.perf_counter() - started
            return Result(found, len(clips), lambda: busy)
        end.record()

        def wait() -> float:
            end.synchronize()
            return float(begin.elapsed_time(end)) / 1000

        return Result(found, len(clips), wait)


def _to_cpu(tensor: Tensor, cuda: bool) -> Tensor:
    import torch

    if not cuda:
        return tensor.contiguous()
    target = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return target.copy_(tensor, non_blocking=True)


def seats(numbers: Sequence[int], size: int) -> tuple[list[int], list[int]]:
    """Seat some clips of one group in a batch of fixed size.

    A clip's seat depends only on its number in the store, not on its neighbours: arithmetic in a batch of
    another size, or in another place of it, differs in the last bits. Empty seats go to copies of the first clip.

    Args:
        numbers: numbers of the clips on the store's clip axis, of one group of `size` neighbours.
        size: clips per batch.

    Returns:
        For every seat the index in `numbers` of its clip, and for every clip its seat.
    """
    taken = [number % size for number in numbers]
    return [taken.index(seat) if seat in taken else 0 for seat in range(size)], taken


def rows(results: Sequence[Result]) -> Iterator[tuple[Result, int]]:
    """Yield (result, index in its batch) seat by seat."""
    for result in results:
        for row in range(result.batch):
            yield result, row
