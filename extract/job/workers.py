"""Several processes on one machine, started through Dask: one per GPU, or as many as asked for on CPU.

The processes share nothing but the store: each goes through the same list of clips from another place on and claims
what it takes, so a killed one costs the clip in its hands and nobody waits for a slow one.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from configs.console import progress
from configs.errors import ModelError
from configs.jobs import local_processes
from extract.job.config import RunConfig
from extract.job.extraction import Outcome, run_process
from extract.job.plan import Plan
from extract.job.progress import FirstEstimate

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_SECONDS = 1.0


def run_workers(config: RunConfig, devices: Sequence[str], count: int, plan: Plan, stop_file: str) -> Outcome:
    """Run `count` processes to the end and add up what they did.

    Args:
        config: the options.
        devices: devices that the processes take in turn.
        count: processes.
        plan: for the progress bar.
        stop_file: once it exists, all processes finish the clips in hand and end.

    Raises:
        SpatialprobeError: what the first failing process raised, after all have ended; or it died several times.
    """
    from distributed import KilledWorker

    with local_processes(count) as client:
        client.run(_ignore_termination)
        futures = [
            client.submit(run_process, config, devices[index % len(devices)], index, count, stop_file, pure=False)
            for index in range(count)
        ]
        _watch(client, futures, plan)
        try:
            outcomes: list[Outcome] = client.gather(futures)
        except KilledWorker as error:
            raise ModelError(
                "a process died again and again: out of memory, or a crash in a library",
                fix="fewer workers=, or a smaller batch=; the same command continues",
            ) from error
    records = [record for outcome in outcomes for record in outcome.records]
    working = max(outcome.working for outcome in outcomes)
    return Outcome(records, working, max(outcome.parameters for outcome in outcomes))


def _ignore_termination() -> None:
    """Batch systems send SIGTERM to all processes of a job; the parent passes it on by the stop file."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _watch(client: Client, futures: Sequence[Future], plan: Plan) -> None:
    """Show how many clips have been committed until all processes have ended."""
    from cache.store import FeatureStore

    store = FeatureStore.open(plan.path)
    estimate = FirstEstimate(plan.clips)
    with progress(plan.clips, plan.source) as bar:
        shown = 0
        while not all(future.done() for future in futures):
            time.sleep(POLL_SECONDS)
            store.refresh()
            done = min((len(store.committed(spec.name)) for spec in plan.arrays), default=0) - plan.complete
            bar.advance(max(0, done - shown))
            shown = max(done, shown)
            estimate.count(shown)
