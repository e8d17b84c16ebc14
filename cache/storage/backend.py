"""The few operations on named bytes that a store needs, so that other kinds of storage can be added.

A key is a relative path with `/`. Everything a store keeps is written through `stage` + `publish` (atomic and durable)
or `create` (atomic, only if absent), and read through `read`, `open` and `names`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
"""A one-dimensional array of bytes."""


TEMPORARY = "tmp"
"""Folder of staged bytes, one sub-folder per writing process."""


class Handle(Protocol):
    """An open object of known size; safe to use from several threads at once.

    Attributes:
        size: bytes.
        version: differs, in all likelihood, from that of any other object that is put under the same key.
    """

    size: int
    version: int

    def read_many(self, requests: Sequence[tuple[int, list[memoryview], int]]) -> None:
        """Serve several requests (offset, buffers, their bytes together), each as `read_into`."""
        ...

    def read_into(self, offset: int, buffers: Sequence[memoryview]) -> None:
        """Fill `buffers` one after the other with the bytes from `offset` on.

        Raises:
            CorruptionError: the object ends before the buffers are full.
            StorageError: the storage reports an error.
        """
        ...


class Stage(Protocol):
    """Bytes on their way: invisible under their key until `publish`."""

    key: str

    def write(self, data: bytes | Bytes) -> None:
        """Append bytes."""
        ...

    def finish(self) -> None:
        """Make the staged bytes durable."""
        ...

    def publish(self) -> None:
        """Put the bytes under their key, replacing what was there; `Backend.sync` makes the name durable."""
        ...

    def publish_new(self) -> bool:
        """Put the bytes under their key unless something is there; return whether they were put."""
        ...

    def discard(self) -> None:
        """Forget the staged bytes. Allowed at any time; does nothing after `publish`."""
        ...


class Backend(Protocol):
    """Storage of one store."""

    where: str

    def stage(self, key: str) -> Stage:
        """Begin to write the bytes of a key."""
        ...

    def create(self, key: str, data: bytes, *, durable: bool = False) -> bool:
        """Put small bytes under a key, atomically, unless something is there; return whether they were put.

        Only `durable` ones survive a power failure.
        """
        ...

    def replace(self, key: str, data: bytes, *, durable: bool = False) -> None:
        """Put small bytes under a key, atomically, replacing what was there; `durable` as in `create`."""
        ...

    def sync(self, folders: Iterable[str]) -> None:
        """Make published names and deletions in these folders durable."""
        ...

    def read(self, key: str) -> bytes:
        """Return all bytes of a key.

        Raises:
            MissingError: there is no such key.
            StorageError: the storage reports an error.
        """
        ...

    def open(self, key: str) -> Handle:
        """Return a handle on a key; errors as `read`."""
        ...

    def size(self, key: str) -> int | None:
        """Return the number of bytes under a key, None if there is no such key."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names of objects and folders directly below a folder, in no order; empty if it does not exist."""
        ...

    def delete(self, key: str) -> bool:
        """Remove a key; return whether it was there."""
        ...

    def make_folders(self, folders: Iterable[str]) -> None:
        """Make folders durably; for storage without folders, nothing."""
        ...

    def modified(self, key: str) -> float | None:
        """Return when a key was written, in seconds by the storage's own clock; None if it is gone."""
        ...

    def __reduce__(self) -> tuple[Any, ...]: ...
