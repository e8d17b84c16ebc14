"""A backend in memory: for tests, and the model of what another kind of storage has to provide."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from cache.storage.backend import Bytes
from configs.errors import CorruptionError, MissingError


class MemoryBackend:
    """All objects of one store in a dict; shared by every store object that is given the same backend."""

    def __init__(self, where: str = "memory") -> None:
        self.where = where
        self.objects: dict[str, bytes] = {}
        self.times: dict[str, float] = {}
        self.lock = threading.Lock()
        self._tokens = itertools.count()

    def stage(self, key: str) -> _MemoryStage:
        """Begin to write the bytes of a key."""
        return _MemoryStage(self, key)

    def create(self, key: str, data: bytes, *, durable: bool = False) -> bool:
        """Put bytes under a key unless something is there."""
        with self.lock:
            if key in self.objects:
                return False
            self._set(key, data)
            return True

    def replace(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Put bytes under a key."""
        with self.lock:
            self._set(key, data)

    def _set(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.times[key] = time.monotonic()

    def sync(self, folders: Iterable[str]) -> None:
        """Nothing to do."""

    def read(self, key: str) -> bytes:
        """Return all bytes of a key."""
        try:
            return self.objects[key]
        except KeyError:
            raise MissingError("no such object", where=f"{self.where}:{key}") from None

    def open(self, key: str) -> _MemoryHandle:
        """Return a handle on a key."""
        return _MemoryHandle(self.read(key), f"{self.where}:{key}")

    def size(self, key: str) -> int | None:
        """Return the number of bytes under a key."""
        data = self.objects.get(key)
        return None if data is None else len(data)

    def names(self, folder: str) -> list[str]:
        """Return the names directly below a folder."""
        prefix = f"{folder}/" if folder else ""
        return list({key[len(prefix) :].split("/", 1)[0] for key in list(self.objects) if key.startswith(prefix)})

    def delete(self, key: str) -> bool:
        """Remove a key."""
        with self.lock:
            self.times.pop(key, None)
            return self.objects.pop(key, None) is not None

    def make_folders(self, folders: Iterable[str]) -> None:
        """Nothing to do."""

    def modified(self, key: str) -> float | None:
        """Return when a key was written."""
        return self.times.get(key)

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("a store in memory can't be sent to another process")


class _MemoryHandle:
    def __init__(self, data: bytes, where: str) -> None:
        self._data, self._where, self.size, self.version = data, where, len(data), id(data)

    def read_many(self, requests: Sequence[tuple[int, list[memoryview], int]]) -> None:
        for offset, buffers, _ in requests:
            self.read_into(offset, buffers)

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        for buffer in buffers:
            part = self._data[offset : offset + len(buffer)]
            if len(part) != len(buffer):
                raise CorruptionError("the object ends too early", where=self._where)
            buffer[:] = part
            offset += len(part)


class _MemoryStage:
    def __init__(self, backend: MemoryBackend, key: str) -> None:
        self._backend, self.key, self._parts = backend, key, list[bytes]()

    def write(self, data: bytes | Bytes) -> None:
        self._parts.append(bytes(data))

    def finish(self) -> None:
        pass

    def publish(self) -> None:
        self._backend.replace(self.key, b"".join(self._parts))

    def publish_new(self) -> bool:
        return self._backend.create(self.key, b"".join(self._parts))

    def discard(self) -> None:
        self._parts.clear()
