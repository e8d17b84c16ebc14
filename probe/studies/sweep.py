"""`spatialprobe probe sweep`: probes on all layers and noise levels of one or several stores, in as few passes as fit.

The work is cut into jobs of whole layers, one per process. A job is a list of run ids: a process plans the runs again
from the same configuration, so that a killed sweep continues where it was and a finished one returns immediately.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from configs.console import Progress, get_logger
from configs.jobs import run_jobs
from configs.machine import available_cores, visible_devices
from probe.config import RunConfig, SweepConfig
from probe.results import results
from probe.results.results import rounds_logged
from probe.results.survey import compact
from probe.studies.sweep_table import Outcome, outcome_of
from probe.train.device import GIB, SHARE, free_memory, resolve_device
from probe.train.plan import Planned, RunPlan, finished, plan_runs, plan_sweep
from probe.train.schedule import schedule_of
from probe.train.train import measure_rest, train_planned

POLL_SECONDS = 2.0

log = get_logger("probe.studies.sweep")


def sweep(config: SweepConfig) -> Outcome:
    """Train and evaluate what a sweep asks for; a layer that fails costs its own probes only.

    Args:
        config: options of `sweep`.

    Raises:
        SpatialprobeError: whatever is wrong with stores, dataset or configuration, before the first step.
    """
    planned = plan_sweep(config)
    return outcome_of(planned, train_sweep(config, planned, finished(planned)))


def train_sweep(config: SweepConfig, planned: Planned, done: Collection[str]) -> dict[str, str]:
    """Train the planned runs of a sweep that are not finished; return run id -> reason of those that failed.

    Args:
        config: where the work is done.
        planned: from `plan_sweep`.
        done: ids of the finished runs.
    """
    plans, runs = planned.plans, planned.config
    pending = [plan for plan in plans if plan.run_id not in done]
    layers = {(plan.inputs["store"], plan.inputs["array"]) for plan in plans}
    log.info("%s: %d probes on %d layers, %d of them to train", runs.task, len(plans), len(layers), len(pending))
    failed: dict[str, str] = {}
    if pending:
        count = _processes(config, runs.where.device)
        if config.cluster == "local" and count == 1:
            _, failed = train_planned(planned, [plan.run_id for plan in pending], isolate=True)
        else:
            failed = _distribute(config, planned, cut(pending, count))
            compact(runs.where.root)
    for plan in plans:
        found = None if plan.run_id in failed else results.find(runs.where.root, plan.run_id)
        if found is not None:
            measure_rest(plan, found)
    return failed


def cut(plans: Sequence[RunPlan], count: int) -> list[list[RunPlan]]:
    """Cut runs into at most `count` jobs of whole layers, about equally many runs each, neighbours together."""
    units: dict[tuple[str, str], list[RunPlan]] = {}
    for plan in plans:
        units.setdefault((plan.inputs["store"], plan.inputs["array"]), []).append(plan)
    jobs: list[list[RunPlan]] = [[] for _ in range(max(1, min(count, len(units))))]
    placed = 0
    for unit in units.values():
        jobs[placed * len(jobs) // len(plans)] += unit
        placed += len(unit)
    return [job for job in jobs if job]


def _processes(config: SweepConfig, device: str) -> int:
    """Return in how many processes to train."""
    if config.workers:
        return int(config.workers)
    if config.cluster != "local":
        return _workers_of(config.cluster)
    return max(1, len(_gpus(device)))


def _workers_of(cluster: str) -> int:
    """Return how many threads a cluster has; one where it doesn't answer, which `run_jobs` then reports."""
    from distributed import Client

    try:
        with Client(cluster, timeout=20) as client:
            return max(1, sum(int(threads) for threads in client.nthreads().values()))
    except (OSError, ValueError):
        return 1


def _gpus(device: str) -> list[str]:
    """Return the GPUs that `device=` means."""
    return [name for name in visible_devices(device) if name != "cpu"]


def _distribute(config: SweepConfig, planned: Planned, jobs: Sequence[Sequence[RunPlan]]) -> dict[str, str]:
    """Do jobs in other processes; return run id -> reason of the runs that failed."""
    ids = {str(number): [plan.run_id for plan in job] for number, job in enumerate(jobs)}
    local, runs = config.cluster == "local", planned.config
    if local:
        memory = (runs.where.memory or _free_gib(runs.where.device)) / len(jobs)
        runs = dataclasses.replace(runs, where=dataclasses.replace(runs.where, memory=memory))
    threads = max(1, available_cores() // len(jobs)) if local else 0
    work = partial(run_job, runs, ids, _gpus(runs.where.device) if local else [], threads)
    failed: dict[str, str] = {}
    with watched(planned, [run_id for group in ids.values() for run_id in group]):
        for _, result in run_jobs(work, list(ids), len(jobs), config.cluster):
            if isinstance(result, BaseException):
                raise result
            failed |= result
    return failed


def run_job(
    runs: RunConfig, ids: dict[str, list[str]], gpus: Sequence[str], threads: int, number: str
) -> dict[str, str]:
    """Train the runs of one job, in a separate process; return run id -> reason of those that failed.

    Args:
        runs: configuration of the runs.
        ids: job number -> run ids.
        gpus: to take in turn; empty for the configuration's own device.
        threads: of arithmetic; 0 leaves them.
        number: of the job.
    """
    if threads:
        torch.set_num_threads(threads)
    if gpus:
        device = gpus[int(number) % len(gpus)]
        runs = dataclasses.replace(runs, where=dataclasses.replace(runs.where, device=device))
    return train_planned(plan_runs(runs, many=True), ids[number], isolate=True, quiet=True)[1]


def _free_gib(device: str) -> float:
    return SHARE * free_memory(resolve_device(device)) / GIB


@contextmanager
def watched(planned: Planned, run_ids: Sequence[str]) -> Iterator[None]:
    """Show the progress of some runs while the block runs.

    Args:
        planned: the runs with what they share.
        run_ids: those that are trained.
    """
    root = planned.config.where.root
    rounds: dict[str, int] = {}
    for inputs, plans in planned.groups:
        for plan in plans:
            if plan.run_id in run_ids:
                rounds[plan.run_id] = schedule_of(plan.config, inputs).rounds
    before = rounds_done(root, run_ids)
    stop = threading.Event()
    with Progress(sum(rounds.values()), f"{len(run_ids)} probes", "rounds", log=log) as bar:
        bar.skip(before)

        def watch() -> None:
            while not stop.wait(POLL_SECONDS):
                bar.advance(max(0, rounds_done(root, run_ids) - bar.pace.done))

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def rounds_done(root: str | None, run_ids: Sequence[str]) -> int:
    """Return how many rounds the logs of some runs hold."""
    return sum(rounds_logged(root, run_id) for run_id in run_ids)
