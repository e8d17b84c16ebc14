"""Hands a function to all processes of a Dask cluster once, also to those that start later in place of dead ones.

Importers carry lists of frames and poses; sending these with every clip would cost more than some clips do.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from distributed import Worker, WorkerPlugin

if TYPE_CHECKING:
    from distributed import Client

_SHARED: dict[str, Callable[[str], Any]] = {}


class _Holder(WorkerPlugin):  # type: ignore[misc]
    """Keeps one function in a worker process."""

    def __init__(self, handle: str, function: Callable[[str], Any]) -> None:
        self.name, self.function = handle, function

    def setup(self, worker: Worker) -> None:
        """Called in each process as it joins."""
        _SHARED[self.name] = self.function

    def teardown(self, worker: Worker) -> None:
        """Called when the function is withdrawn."""
        _SHARED.pop(self.name, None)


def share(client: Client, function: Callable[[str], Any]) -> str:
    """Give a picklable function to all workers; return the handle to call it by."""
    handle = f"spatialprobe-{uuid.uuid4().hex}"
    client.register_plugin(_Holder(handle, function), name=handle)
    return handle


def withdraw(client: Client, handle: str) -> None:
    """Take the function away again."""
    client.unregister_worker_plugin(handle)


def call(handle: str, item: str) -> Any:
    """Call a shared function; runs in a worker."""
    return _SHARED[handle](item)
