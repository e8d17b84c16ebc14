"""Leases on names: one small file per claimed name, created exclusively and kept alive by a heartbeat.

Clocks of two machines are never compared. A lease ends when its process is known to be dead (same machine), or when
its file has not changed for `timeout` seconds of the observer's own time. A lease only avoids double work; even a
holder that slept through its timeout can't damage a committed clip (`cache.clip_writer`).
"""

from __future__ import annotations

import dataclasses
import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from cache.format import layout
from cache.storage.backend import Backend
from cache.storage.process import Holder, this_process
from configs.console import get_logger
from configs.errors import MissingError, StorageError

TIMEOUT = 120.0
"""Seconds without a heartbeat after which another machine may take over."""


def since_boot() -> float:
    """Return seconds on a clock that nobody sets and that counts the time a machine sleeps, where there is one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclasses.dataclass(eq=False)
class Lease:
    """The right to work on one name; release it, or use it as a context manager."""

    board: LeaseBoard
    name: str
    number: int
    beaten_at: float
    beat: int = 0
    lost: bool = False
    guard: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def key(self) -> str:
        """Key of the lease file."""
        return _key(self.name, self.number)

    def holds(self) -> bool:
        """Return whether it is certain that nobody else has taken over."""
        return not self.lost and self.board.clock() - self.beaten_at < 0.8 * self.board.timeout

    def release(self) -> None:
        """Give the name back."""
        self.board.forget(self)
        with self.guard:  # not between the two halves of a heartbeat: it would bring the file back
            if not self.lost:
                self.lost = True
                self.board.backend.delete(self.key)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class LeaseBoard:
    """Takes and keeps leases of one store for this process.

    Args:
        backend: storage of the store.
        timeout: seconds without a heartbeat after which a lease of another machine has ended.
        clock: this process's own time, in seconds.

    Attributes:
        held: the leases of this board, by name.
    """

    def __init__(self, backend: Backend, timeout: float = TIMEOUT, clock: Callable[[], float] = since_boot) -> None:
        self.backend, self.timeout, self.clock = backend, timeout, clock
        self.held: dict[str, Lease] = {}
        self._seen: dict[str, tuple[bytes, float]] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Lease | None:
        """Return a lease on a name, or None while another holder has one."""
        if name in self.held:
            return None
        others = {number: (key, self._content_of(key)) for number, key in self._files(name).items()}
        if any(not self._ended(key, content) for key, content in others.values()):
            return None
        lease = Lease(self, name, max(others, default=-1) + 1, self.clock())
        if not self.backend.create(lease.key, self._content(lease)):
            return None
        # another process may have come and gone, or come, since the files were listed, also under a number that had
        # ended: then both step back
        now = self._files(name)
        anew = [n for n, (key, content) in others.items() if n in now and self._content_of(key) not in (content, None)]
        if set(now) - set(others) != {lease.number} or anew:
            self.backend.delete(lease.key)
            return None
        for key, _ in others.values():
            self.backend.delete(key)
            self._seen.pop(key, None)
        with self._lock:
            self.held[name] = lease
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._keep_alive, name="lease heartbeat", daemon=True)
                self._thread.start()
        return lease

    def forget(self, lease: Lease) -> None:
        """Stop the heartbeat of a lease."""
        with self._lock:
            if self.held.get(lease.name) is lease:
                del self.held[lease.name]
            if not self.held:
                self._wake.set()

    def holder(self, name: str) -> str | None:
        """Return who holds a name, for messages."""
        for key in self._files(name).values():
            holder = self._holder(self._content_of(key))
            if holder is not None:
                return f"process {holder.pid} on {holder.host}"
        return None

    def active(self) -> dict[str, float]:
        """Return the names that some process holds, or may hold, with the seconds until they can be taken over.

        Those of a living process of this machine never can: infinity. Another machine's run out if its process stays
        silent, counted from when this board first saw the lease as it is.
        """
        found: dict[str, float] = {}
        for name, _, key in self._all():
            left = self._left(key, self._content_of(key))
            if left > 0:
                found[name] = max(left, found.get(name, 0.0))
        return found

    def holds(self, name: str) -> bool:
        """Return whether this board itself holds a name."""
        return name in self.held

    def dead(self, silent: Callable[[str], bool] = lambda key: False) -> list[str]:
        """Return the keys of lease files whose holders are gone.

        Args:
            silent: whether the lease file of a process that can't be asked counts as well; by default only what this
                board itself has seen run out.
        """
        found = []
        for _, _, key in self._all():
            left = self._left(key, self._content_of(key))
            if left <= 0 or (left < math.inf and silent(key)):
                found.append(key)
        return found

    def holders(self) -> list[tuple[str, Holder | None]]:
        """Return the key and the holder of every lease file, None where it can't be read."""
        return [(key, self._holder(self._content_of(key))) for _, _, key in self._all()]

    def _all(self) -> Iterator[tuple[str, int, str]]:
        """Yield (name, number, key) of every lease file."""
        for file in self.backend.names(layout.LEASES):
            name, _, number = file.removesuffix(".json").rpartition(".")
            if number.isdecimal():
                yield name, int(number), f"{layout.LEASES}/{file}"

    def _files(self, name: str) -> dict[int, str]:
        """Return the keys of a name's lease files by number."""
        return {number: key for stem, number, key in self._all() if stem == name}

    def _content(self, lease: Lease) -> bytes:
        return json.dumps({"holder": dataclasses.asdict(this_process()), "beat": lease.beat}).encode()

    def _content_of(self, key: str) -> bytes | None:
        try:
            return self.backend.read(key)
        except MissingError:
            return None

    @staticmethod
    def _holder(content: bytes | None) -> Holder | None:
        try:
            values: dict[str, Any] = json.loads(content or b"")
            return Holder.from_json(values["holder"])
        except (ValueError, KeyError, TypeError):
            return None

    def _ended(self, key: str, content: bytes | None) -> bool:
        return self._left(key, content) <= 0

    def _left(self, key: str, content: bytes | None) -> float:
        """Return the seconds until a lease runs out if its file stays as it is."""
        if content is None:
            return 0.0
        holder = self._holder(content)
        lives = None if holder is None else holder.lives()
        if lives is not None:
            return math.inf if lives else 0.0
        before = self._seen.get(key)
        if before is None or before[0] != content:
            before = self._seen[key] = (content, self.clock())
        return max(0.0, self.timeout - (self.clock() - before[1]))

    def _keep_alive(self) -> None:
        while True:
            self._wake.wait(self.timeout / 6)
            with self._lock:
                self._wake.clear()
                leases = list(self.held.values())
                if not leases:
                    self._thread = None
                    return
            for lease in leases:
                self.beat(lease)

    def beat(self, lease: Lease) -> None:
        """Write one heartbeat, unless the lease was lost or released meanwhile."""
        with lease.guard:
            if lease.lost:  # or released meanwhile: the file must not come back
                return
            try:
                files = self._files(lease.name)
                if lease.number not in files or max(files) > lease.number:
                    lease.lost = True
                    return
                lease.beat += 1
                self.backend.replace(lease.key, self._content(lease))
                lease.beaten_at = self.clock()
            except (StorageError, MissingError) as error:
                get_logger("cache").warning("a lease could not be renewed: %s", error)


def _key(name: str, number: int) -> str:
    return f"{layout.LEASES}/{name}.{number:04d}.json"
