"""A ring of reused buffers: filling memory that is already mapped is several times faster than new memory."""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

Base = npt.NDArray[np.uint8]


class BufferRing:
    """Hands out flat byte tensors; a buffer comes back by itself when no tensor refers to its memory any more.

    A consumer that keeps more batches than there are buffers gets more buffers, never overwritten ones.

    Args:
        count: buffers to aim for.
        pin: page-locked memory, for asynchronous copies to a CUDA device.
    """

    def __init__(self, count: int, pin: bool) -> None:
        self._count, self._pin = count, pin
        self._free: deque[tuple[Base, Any]] = deque()
        self._made = 0
        self._waiting = self._interrupted = False
        self._changed = threading.Condition()

    @property
    def made(self) -> int:
        """How many buffers exist."""
        return self._made

    def take(self, size: int) -> torch.Tensor | None:
        """Return a flat uint8 tensor of `size` bytes; waits for a free buffer. None when interrupted."""
        with self._changed:
            self._waiting = True
            self._changed.wait_for(lambda: self._free or self._made < self._count or self._interrupted)
            self._waiting = False
            if self._interrupted:
                return None
            base, event = self._free.popleft() if self._free else (None, None)
            self._made += base is None
        if event is not None:
            event.synchronize()  # a copy to the device may still be reading
        if base is None or base.nbytes < size:
            base = torch.empty(size, dtype=torch.uint8, pin_memory=self._pin).numpy()
        window = base[:size]
        weakref.finalize(window, self._give_back, base).atexit = False
        return torch.from_numpy(window)  # its storage holds on to `window`, and so does every tensor made from it

    def _give_back(self, base: Base) -> None:
        event = None
        if self._pin:
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        with self._changed:
            self._free.append((base, event))
            self._changed.notify_all()

    def relieve(self) -> None:
        """Allow one buffer more if the filling thread waits: the consumer waits too, and holds all there are."""
        with self._changed:
            if self._waiting and not self._free and self._made >= self._count:
                self._count += 1
                self._changed.notify_all()

    @contextmanager
    def interrupted(self) -> Iterator[None]:
        """Let nobody wait for a buffer while the block runs."""
        with self._changed:
            self._interrupted = True
            self._changed.notify_all()
        try:
            yield
        finally:
            self._interrupted = False
