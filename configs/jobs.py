"""Runs one function over many items in processes, through Dask: on this machine, or on a cluster that already runs.

The processes of this machine die with their parent. One that dies in the middle of an item costs that item alone: it is
tried once more, then reported with its reason, while the others go on.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from configs.errors import ConfigError, DatasetError
from configs.machine import available_cores

if TYPE_CHECKING:
    from distributed import Client

Result = TypeVar("Result")
CONNECT_S = 20.0
"""How long to wait for a Dask scheduler to answer."""


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
    from configs.job_plugin import share, withdraw

    with ExitStack() as stack:
        client = _client(stack, count, cluster)
        handle = share(client, function)
        stack.callback(withdraw, client, handle)
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

    # By default Dask has its processes return freed memory at once; each large array would then be mapped anew, page
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


def _run(client: Client, handle: str, items: Sequence[str], slots: int) -> Iterator[tuple[str, Any]]:
    """Keep every slot busy, and no more than that: an item that kills its process takes no waiting ones with it."""
    from distributed import KilledWorker, as_completed

    from configs.job_plugin import call

    todo = iter(items)
    running = {client.submit(call, handle, item, pure=False): item for item in islice(todo, slots)}
    finished = as_completed(list(running))
    for future in finished:
        item, error = running.pop(future), future.exception()
        if isinstance(error, KilledWorker):
            error = DatasetError(
                "the process that worked on this died twice; out of memory, or a crash in a decoder", where=item,
                fix="run again with fewer workers=, then look at the raw data of this clip",
            )  # fmt: skip
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
    """The parent decides what an interrupt means; through a stop file, for example."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
