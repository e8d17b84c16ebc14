"""How far runs in other processes are, told from the logs that they keep in their folders."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from configs.paths import runs_path
from probe.train.progress import StepBar
from probe.train.recipe import Schedule
from probe.train.train import Planned

POLL_SECONDS = 2.0


@contextmanager
def watched(root: str | None, planned: Planned, run_ids: Sequence[str]) -> Iterator[None]:
    """Show the progress of some runs while the block runs.

    Args:
        root: artifact root.
        planned: the runs with what they share.
        run_ids: those that are trained.
    """
    rounds: dict[str, int] = {}
    for inputs, plans in planned:
        for plan in plans:
            if plan.run_id in run_ids:
                rounds[plan.run_id] = Schedule(inputs.train, plan.config.recipe, plan.config.data_seed).rounds
    before = rounds_done(root, run_ids)
    stop = threading.Event()
    with StepBar(sum(rounds.values()), f"{len(run_ids)} probes", "rounds") as bar:
        bar.skip(before)

        def watch() -> None:
            while not stop.wait(POLL_SECONDS):
                bar.advance(max(0, rounds_done(root, run_ids) - bar.done))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def rounds_done(root: str | None, run_ids: Sequence[str]) -> int:
    """Return how many rounds the logs of some runs hold."""
    count = 0
    for run_id in run_ids:
        path = runs_path(root) / run_id / "log.jsonl"
        if path.is_file():
            count += path.read_bytes().count(b"\n")
    return count
