"""Batches of features at the speed of a raw read: one background thread that fills a ring of reused buffers."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from cache.loading.ring import BufferRing
from cache.source import FeatureSource, ReadItem
from configs.errors import StoreError

Indices = npt.NDArray[np.int64]


def epoch_order(count: int, seed: int, epoch: int, shuffle: bool) -> Indices:
    """Return the order of `count` samples in an epoch: a permutation drawn from (seed, epoch), or 0, 1, 2, ..."""
    if not shuffle:
        return np.arange(count, dtype=np.int64)
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return generator.permutation(count).astype(np.int64)


def rank_batches(order: Indices, batch_size: int, rank: int, world_size: int, drop_last: bool) -> list[Indices]:
    """Return the batches of one rank: every sample goes to exactly one rank, none is repeated or padded.

    Args:
        order: all samples of the epoch in order.
        batch_size: samples per batch; the last one may be smaller.
        rank, world_size: this process and how many there are.
        drop_last: leave out what does not fill a batch on every rank, so that all ranks take equally many steps.
    """
    if drop_last:
        order = order[: len(order) // (batch_size * world_size) * batch_size * world_size]
    share = order[rank::world_size]
    return [share[start : start + batch_size] for start in range(0, len(share), batch_size)]


Sample: TypeAlias = ReadItem | Sequence[ReadItem]
"""What one sample reads: one item, or several (blocks, stores)."""

Attach: TypeAlias = Callable[[Indices, int], Mapping[str, Any]]
"""Adds to a batch, given the sample numbers and the epoch: labels, masks. Runs in the background thread."""


class FeatureLoader:
    """Iterates over collated batches; a drop-in for a DataLoader with `num_workers=0` in Lightning.

    A batch is a dict: `index` (B,) int64 sample numbers; `features` (B, rows, height, width, channels), or a list with
    one such tensor per item of a sample (a list of B tensors in place of each whose shapes differ); and what `attach`
    returned. Tensors live in ring buffers that are reused only when nothing refers to them any more.

    The order depends on (seed, epoch) alone. After a full pass the next one is epoch + 1; Lightning's own call of
    `set_epoch` does the same. `state_dict` and `load_state_dict` continue in the middle of an epoch.

    Args:
        source: the store.
        samples: what to read for each sample; or a function of the epoch, for queries drawn anew in each.
        batch_size: samples per batch.
        seed: of the order.
        shuffle: False keeps the order of `samples`.
        rank, world_size: this process and how many there are; each sample goes to exactly one, without padding.
        drop_last: leave out samples that don't fill a batch on every rank, so that all ranks take equally many steps.
        buffers: ring buffers; one is in use, the others are filled ahead.
        pin_memory: page-locked buffers; default: when CUDA is available.
        attach: see `Attach`.
        allow_partial: see `FeatureStore.read`.

    Raises:
        StoreError: impossible rank or batch size.
    """

    def __init__(
        self,
        source: FeatureSource,
        samples: Sequence[Sample] | Callable[[int], Sequence[Sample]],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int = 0,
        world_size: int = 1,
        drop_last: bool = False,
        buffers: int = 3,
        pin_memory: bool | None = None,
        attach: Attach | None = None,
        allow_partial: bool = False,
    ) -> None:
        if not (0 <= rank < world_size and batch_size > 0 and buffers > 0):
            raise StoreError("rank must be below world_size; batch_size and buffers must be positive")
        self.source, self.samples, self.batch_size = source, samples, batch_size
        self.seed, self.shuffle, self.rank, self.world_size = seed, shuffle, rank, world_size
        self.drop_last, self.attach, self.allow_partial = drop_last, attach, allow_partial
        pin = torch.cuda.is_available() if pin_memory is None else pin_memory
        self.ring = BufferRing(buffers, pin)
        self._epoch = 0
        self._position = 0

    @property
    def sampler(self) -> FeatureLoader:
        """Itself: Lightning looks here for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; keeps the position if that epoch is already under way."""
        if epoch != self._epoch:
            self._epoch, self._position = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """Return the epoch, how many batches of it were handed out, and the seed."""
        return {"epoch": self._epoch, "position": self._position, "seed": self.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where `state_dict` was taken.

        Raises:
            StoreError: the state belongs to another seed.
        """
        if state["seed"] != self.seed:
            raise StoreError("the loader's state has another seed", expected=self.seed, found=state["seed"])
        self._epoch, self._position = state["epoch"], state["position"]

    def batches(self, epoch: int) -> list[Indices]:
        """Return the sample numbers of each batch of this rank in an epoch."""
        return self._plan(len(self._samples(epoch)), epoch)

    def _plan(self, count: int, epoch: int) -> list[Indices]:
        order = epoch_order(count, self.seed, epoch, self.shuffle)
        return rank_batches(order, self.batch_size, self.rank, self.world_size, self.drop_last)

    def _samples(self, epoch: int) -> Sequence[Sample]:
        return self.samples(epoch) if callable(self.samples) else self.samples

    def __len__(self) -> int:
        return len(self.batches(self._epoch))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch, start = self._epoch, self._position
        samples = self._samples(epoch)
        plan = self._plan(len(samples), epoch)
        if start >= len(plan):  # the state was taken at the very end of an epoch
            start = self._position = 0
        feed = _Feed(self, self.ring, samples, epoch, plan[start:])
        try:
            for number in range(start, len(plan)):
                batch = feed.next()
                self._position = number + 1
                yield batch
                del batch
        finally:
            feed.stop()
        if self._epoch == epoch:
            self._epoch, self._position = epoch + 1, 0

    def _load(self, samples: Sequence[Sample], numbers: Indices, epoch: int) -> dict[str, Any] | None:
        """Read one batch; None when the pass was given up."""
        single = isinstance(samples[0][0], str)
        columns: list[list[ReadItem]] = (
            [list(samples)] if single else [list(column) for column in zip(*samples, strict=True)]  # type: ignore[arg-type]
        )
        sizes = [-(-self.source.nbytes(column) // 64) * 64 for column in columns]
        buffer = self.ring.take(sum(sizes))
        if buffer is None:
            return None
        features = []
        for column, part in zip(columns, torch.split(buffer, sizes), strict=True):
            features.append(self.source.read(column, part, allow_partial=self.allow_partial))
        batch = {"index": torch.from_numpy(numbers.copy()), "features": features[0] if single else features}
        if self.attach is not None:
            batch.update(self.attach(numbers, epoch))
        return batch


class _Feed:
    """The background thread of one pass."""

    def __init__(
        self, loader: FeatureLoader, ring: BufferRing, samples: Sequence[Sample], epoch: int, plan: Sequence[Indices]
    ) -> None:
        self._ready: queue.SimpleQueue[dict[str, Any] | BaseException] = queue.SimpleQueue()
        self._ring, self._stopped = ring, False
        work = (loader, samples, epoch, plan)
        self._thread = threading.Thread(target=self._run, args=work, name="feature loader", daemon=True)
        self._thread.start()

    def _run(self, loader: FeatureLoader, samples: Sequence[Sample], epoch: int, plan: Sequence[Indices]) -> None:
        try:
            for numbers in plan:
                if self._stopped:
                    return
                batch = loader._load([samples[i] for i in numbers], numbers, epoch)
                if batch is None:
                    return
                self._ready.put(batch)
                del batch  # else this frame would keep the buffer from coming back
        except BaseException as error:
            self._ready.put(error)

    def next(self) -> dict[str, Any]:
        """Return the next batch, or raise what the thread raised."""
        while True:
            try:
                ready = self._ready.get(timeout=0.05)
            except queue.Empty:
                self._ring.relieve()
                continue
            if isinstance(ready, BaseException):
                raise ready
            return ready

    def stop(self) -> None:
        """End the thread; called when the pass is over or given up."""
        self._stopped = True
        with self._ring.interrupted():
            self._thread.join()
