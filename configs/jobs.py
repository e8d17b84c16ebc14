"""Runs one function over many items in processes, through Dask: on this machine, or on a cluster that already runs.

The processes of this machine die with their parent. One that dies in the middle of an item costs that item alone: it is
tried once more, then reported with its reason, while the others go on.
"""

from __future__ import annotations

import functools
import logging
import signal
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from configs.errors import ConfigError, SpatialprobeError
from configs.machine import available_cores

if TYPE_CHECKING:
    from distributed import Client, WorkerPlugin

Result = TypeVar("Result")
CONNECT_S = 20.0
"""How long to wait for an answer from a Dask scheduler."""

_SHARED: dict[str, Callable[[str], Any]] = {}
"""In a worker process: the functions that it has received."""


def run_jobs(
    function: Callable[[str], Result], items: Sequence[str], workers: int = 0, cluster: str = "local"
) -> Iterator[tuple[str, Result | BaseException]]:
    """Yield (item, result or exception) as items finish.

    Args:
        function: picklable; called once per item.
        items: what to work on.
        workers: processes on this machine; 0 means one per available core, 1 works in this process without Dask.
        cluster: "local", or the address `tcp://host:port` of a running Dask scheduler, whose workers see the same
            folders and have the project on their path; `workers` does not matter then.

    An interrupt stops handing out items; those under way are abandoned, which must be safe for `function`.

    Raises:
        ConfigError: `cluster` is neither, or nothing answers at the address.
    """
    count = min(workers or available_cores(), max(1, len(items)))
    if cluster == "local" and count == 1:
        for item in items:
            yield item, _caught(function, item)
        return
    with ExitStack() as stack:
        client = _client(stack, count, cluster)
        handle = f"spatialprobe-{uuid.uuid4().hex}"
        client.register_plugin(_plugin(handle, function), name=handle)
        stack.callback(client.unregister_worker_plugin, handle)
        slots = count if cluster == "local" else max(1, sum(client.nthreads().values()))
        yield from _run(client, handle, items, slots)


def _client(stack: ExitStack, count: int, cluster: str) -> Client:
    import dask
    from distributed import Client

    if cluster != "local":
        if not cluster.startswith(("tcp://", "tls://")):
            raise ConfigError(
                "unknown cluster", expected="local, or tcp://host:port of a running Dask scheduler", found=cluster,
                fix="on Slurm, start `dask scheduler` and `srun dask worker` in the job and pass their address",
            )  # fmt: skip
        try:
            return stack.enter_context(Client(cluster, timeout=CONNECT_S))
        except OSError as error:
            raise ConfigError("no Dask scheduler answers", where=cluster, found=str(error)) from error
    stack.enter_context(dask.config.set({"distributed.scheduler.allowed-failures": 1}))
    return stack.enter_context(local_processes(count))


@contextmanager
def local_processes(count: int) -> Iterator[Client]:
    """Start Dask with some processes on this machine, each with one thread, and leave interrupts to this one."""
    import dask
    from distributed import Client, LocalCluster

    # By default Dask has its processes return freed memory; each large array would then be mapped again, page
    # by page, and the kernel would be busy with little else.
    keep = {"distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": None}
    with (
        dask.config.set(keep),
        LocalCluster(
            n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=0,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster) as client,
    ):  # fmt: skip
        client.run(_ignore_interrupts)
        yield client


def _plugin(handle: str, function: Callable[[str], Any]) -> WorkerPlugin:
    """Return what hands a function to all processes once, also to those that start later in place of dead ones.

    Importers carry lists of frames and poses; sending these with every clip would cost more than some clips do.
    """
    plugin: WorkerPlugin = _plugin_type()(handle, function)
    return plugin


@functools.cache
def _plugin_type() -> Any:
    """Define the class of such plug-ins, which takes Dask's; workers get it by value, the functions below by name."""
    from distributed import WorkerPlugin

    class Holder(WorkerPlugin):  # type: ignore[misc]
        def __init__(self, handle: str, function: Callable[[str], Any]) -> None:
            self.name, self.function = handle, function

        def setup(self, worker: object) -> None:
            keep(self.name, self.function)

        def teardown(self, worker: object) -> None:
            drop(self.name)

    return Holder


def keep(handle: str, function: Callable[[str], Any]) -> None:
    """Take a function to call by its handle; runs in a worker as it joins."""
    _SHARED[handle] = function


def drop(handle: str) -> None:
    """Forget a function; runs in a worker."""
    _SHARED.pop(handle, None)


def call(handle: str, item: str) -> Any:
    """Call a function that was kept; runs in a worker."""
    return _SHARED[handle](item)


def _run(client: Client, handle: str, items: Sequence[str], slots: int) -> Iterator[tuple[str, Any]]:
    """Keep every slot busy, and no more than that: an item that kills its process takes no waiting ones with it."""
    from distributed import KilledWorker, as_completed

    todo = iter(items)
    running = {client.submit(call, handle, item, pure=False): item for item in islice(todo, slots)}
    finished = as_completed(list(running))
    for future in finished:
        item, error = running.pop(future), future.exception()
        if isinstance(error, KilledWorker):
            error = SpatialprobeError(
                "the process that worked on this died twice: out of memory, or a crash in a library",
                where=item,
                fix="run again with fewer workers=; if it dies again, inspect the item",
            )
        result = future.result() if error is None else error
        following = next(todo, None)
        if following is not None:
            another = client.submit(call, handle, following, pure=False)
            running[another] = following
            finished.add(another)
        future.release()
        yield item, result


def _caught(function: Callable[[str], Result], item: str) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:
        return error


def _ignore_interrupts() -> None:
    """Ignore interrupts; the parent decides what they mean, through a stop file, for example."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
