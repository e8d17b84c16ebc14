"""A whole extraction: plan, processes, interrupts, summary."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cache.format.layout import STORE
from configs.console import get_logger
from configs.errors import SpatialprobeError
from extract.job.config import RunConfig, command
from extract.job.forward import visible_devices
from extract.job.plan import Plan, make_plan
from extract.job.progress import Tracker, rates, save_log
from extract.job.request import resolve_request
from extract.job.runner import Record, Runner
from extract.size import count_parameters


@dataclass
class Outcome:
    """What one process, or all of them, did.

    Attributes:
        records: one per clip.
        working: seconds that the process that took longest was at it, without loading the network.
        parameters: of the network, as far as it was loaded; 0 for sources that are not models.
    """

    records: list[Record] = field(default_factory=list)
    working: float = 0.0
    parameters: int = 0

    @property
    def failed(self) -> list[Record]:
        """Records of the clips that failed."""
        return [record for record in self.records if record.status == "failed"]


def run(config: RunConfig) -> int:
    """Extract; returns 1 if any clip failed or is left to another process, else 0.

    Raises:
        KeyboardInterrupt: after an interrupt, once the clips in hand are committed.
        SpatialprobeError: nothing can be done; the message says why.
    """
    devices = visible_devices(config.device)
    count = config.workers or (len(devices) if devices[0].startswith("cuda") else 1)
    request = resolve_request(config, devices[0])
    plan = make_plan(request, config)
    print(plan.describe(), flush=True)
    if not plan.clips:
        _seal(plan)  # an earlier job may have been killed between its last commit and this
        return 0
    plan.check_disk()
    request.store(config.root, recorded(devices[0]))
    started = time.perf_counter()
    try:
        with interruptible() as stop_file:
            if count == 1:
                outcome = run_process(config, devices[0], stop_file=stop_file)
            else:
                from extract.job.workers import run_workers

                outcome = run_workers(config, devices, count, plan, stop_file)
            interrupted = Path(stop_file).exists()
        seconds = time.perf_counter() - started
        _seal(plan)
        _summarise(outcome, config, plan, count, seconds)
        if interrupted:
            raise KeyboardInterrupt
        left = _left_to_others(plan, config)
    except KeyboardInterrupt:  # asked for once, or twice, which comes from anywhere inside
        raise KeyboardInterrupt(f"to continue: {command('run', config)}") from None
    return 1 if outcome.failed or left else 0


def run_process(
    config: RunConfig, device: str, index: int = 0, count: int = 1, stop_file: str = "", quiet: bool = False
) -> Outcome:
    """Do one process's work: all groups of the job's part, beginning at another place than its siblings."""
    import torch

    torch.set_num_threads(config.threads)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # events and allocations that name no device belong to this one
    request = resolve_request(config, device)
    store = request.store(config.root, recorded(device))

    def stop() -> bool:
        return bool(stop_file) and os.path.exists(stop_file)  # noqa: PTH110  (asked between all clips)

    runner = Runner(
        request, store, batch=config.batch_size(), readers=config.readers or reader_threads(count),
        share=config.share(), start=index / count, stop=stop, retry=config.retry, verify_writes=config.verify_writes,
    )  # fmt: skip
    todo = sum(len(group) for group in runner.todo())
    with Tracker(todo, request.source) as tracker:
        runner.done = tracker.add
        started = time.perf_counter()
        runner.run()
        working = time.perf_counter() - started - runner.loading
        return Outcome(tracker.records, working, count_parameters(request.adapter))


def reader_threads(processes: int) -> int:
    """Return how many threads of each process should decode and resize: the cores, fairly shared, at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // processes))


def recorded(device: str) -> dict[str, Any]:
    """Return what is noted of the circumstances of a store's first run; changes no value's meaning."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {}
    for package in ("torch", "diffusers", "transformers", "numpy", "pillow"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": versions, "device": device.partition(":")[0]}


@contextmanager
def interruptible() -> Iterator[str]:
    """Turn the first SIGINT or SIGTERM into a file that all processes look for; the second one is the usual kind."""
    folder = tempfile.TemporaryDirectory(prefix="spatialprobe-stop-")
    path = Path(folder.name) / "stop"
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        path.touch()
        get_logger("extract").warning("finishing the clips in hand; once more to stop at once")
        for known, old in before.items():
            signal.signal(known, old)

    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                before[number] = signal.signal(number, handle)
            except ValueError:  # not in the main thread: whoever runs us handles interrupts
                break
        yield str(path)
    finally:
        for known, old in before.items():
            signal.signal(known, old)
        folder.cleanup()


def _seal(plan: Plan) -> None:
    """Seal the store once it holds all it was made for; a failure costs later readers a second, so it is only told."""
    from cache.care.seal import seal_complete
    from cache.store import FeatureStore

    try:
        if (plan.path / STORE).is_file():  # a part may have no clips at all
            seal_complete(FeatureStore.open(plan.path))
    except SpatialprobeError as error:
        get_logger("extract").warning("%s\n  all clips are committed; python -m cache seal store=%s", error, plan.path)


def _left_to_others(plan: Plan, config: RunConfig) -> int:
    """Return how many clips of this job were held by other processes to the end, and say by whom."""
    from cache.store import FeatureStore

    store = FeatureStore.open(plan.path)
    names = [spec.name for spec in plan.arrays]
    numbers = [store.clip_index(clip) for clip in store.missing(names) if clip in plan.asked]
    left = [number for number in numbers if config.mine(number)]
    if left:
        holder = store.board.holder(f"{left[0]:08d}") or "a process that has just ended"
        print(f"{len(left)} clips are not done: {holder} holds the first of them; the same command does what is left")
    return len(left)


def _summarise(outcome: Outcome, config: RunConfig, plan: Plan, count: int, seconds: float) -> None:
    done = [record for record in outcome.records if record.status == "done"]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{plan.source}-{os.getpid()}"
    log = save_log(outcome.records, config.root, name, outcome.parameters)
    pace = f"; {outcome.working:.1f} s without starting and loading: {rates(done, outcome.working, count)}"
    print(f"{len(done)} clips in {seconds:.1f} s" + (pace if done else ""))
    for record in outcome.failed[:10]:
        print(f"failed: {record.clip_id}: {record.reason}")
    if len(outcome.failed) > 10:
        print(f"... and {len(outcome.failed) - 10} more; {plan.path}/quarantine holds all reasons")
    if outcome.failed:
        print(f"to try them again: {command('run', config)}")
    print(f"store: {plan.path}" + (f"\nlog:   {log}" if log else ""))
