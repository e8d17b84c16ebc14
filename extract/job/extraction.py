"""A whole extraction: plan, processes, interrupts, summary.

Several processes on one machine are started through Dask: one per GPU, or as many as requested on CPU. They share
nothing but the store: each goes through the same list of clips from a different starting point and claims what it
takes, so a killed one costs only its current clip and no process waits for a slow one.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cache.care.seal import seal_complete
from cache.format.layout import STORE
from cache.store import FeatureStore
from configs import commands
from configs.console import Progress, get_logger
from configs.errors import CorruptionError, ModelError, SpatialprobeError
from configs.files import logs_path, write_with_digest
from configs.jobs import local_processes
from configs.machine import available_cores, package_version, visible_devices
from data.dataset.tables import parquet_bytes
from extract.job.config import RunConfig, run_command
from extract.job.plan import Plan, make_plan
from extract.job.request import Request
from extract.job.runner import Record, Runner, rates

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_SECONDS = 1.0
LEFT_TO_OTHERS = 3
"""Exit code: nothing failed, and other processes still hold some of the clips."""


@dataclass
class Outcome:
    """What one process, or all of them, did.

    Attributes:
        records: one per clip.
        working: working time of the slowest process in seconds, excluding loading the network.
        parameters: of the network, as far as it was loaded; 0 for sources that are not models.
    """

    records: list[Record] = field(default_factory=list)
    working: float = 0.0
    parameters: int = 0

    @property
    def failed(self) -> list[Record]:
        """Records of the clips that failed."""
        return [record for record in self.records if record.status == "failed"]


def run(request: Request) -> int:
    """Extract: 0 if all is done, 1 if a clip failed or has changed since, 3 if clips are left to others (`wait=false`).

    Raises:
        KeyboardInterrupt: after an interrupt, once the current clips are committed.
        SpatialprobeError: nothing can be done; the message says why.
    """
    devices = visible_devices(request.config.device)
    count = request.config.workers or (len(devices) if devices[0].startswith("cuda") else 1)
    plan = make_plan(request)
    print(plan.describe(), flush=True)
    changed = _changed(request, plan)
    if not plan.clips:
        _seal(plan)  # an earlier job may have been killed between its last commit and this
        return 1 if changed else 0
    plan.check_disk()
    started = time.perf_counter()
    try:
        with interruptible() as stop_file:
            if count == 1:
                outcome = run_process(request, devices[0], stop_file=stop_file)
            else:
                outcome = run_workers(request, devices, count, plan, stop_file)
            interrupted = Path(stop_file).exists()
        seconds = time.perf_counter() - started
        _seal(plan)
        _summarise(outcome, request.config, plan, count, seconds)
        if interrupted:
            raise KeyboardInterrupt
        left = _left_to_others(plan, request.config)
    except KeyboardInterrupt:  # the first interrupt or the second, which can come from anywhere inside
        raise KeyboardInterrupt(f"to continue: {run_command(request.config)}") from None
    return 1 if outcome.failed or changed else LEFT_TO_OTHERS if left else 0


def run_process(request: Request, device: str, index: int = 0, count: int = 1, stop_file: str = "") -> Outcome:
    """Do one process's work: all groups of the job's part, starting at a different place than its siblings."""
    import torch

    config = request.config
    torch.set_num_threads(config.threads)
    if device.startswith("cuda"):
        torch.cuda.set_device(device)  # events and allocations that name no device belong to this one
    runner = Runner(
        request, _open(request.path), recorded=recorded(device), device=device, batch=config.batch_size(),
        readers=config.readers or reader_threads(count), share=config.share(), start=index / count,
        stop_file=stop_file, verify_writes=config.verify_writes,
    )  # fmt: skip
    todo = sum(len(group) for group in runner.todo())
    with Progress(todo, request.source, log=get_logger("extract"), warmup=1) as bar:
        started = time.perf_counter()
        runner.run(bar)
        working = time.perf_counter() - started - runner.loading
        parameters = sum(value.numel() for module in runner.adapter.modules() for value in module.parameters())
        return Outcome(runner.records, working, parameters)


def run_workers(request: Request, devices: Sequence[str], count: int, plan: Plan, stop_file: str) -> Outcome:
    """Run `count` processes to the end and add up what they did.

    Args:
        request: what is computed.
        devices: devices that the processes take in turn.
        count: processes.
        plan: for the progress bar.
        stop_file: once it exists, all processes finish their current clips and end.

    Raises:
        SpatialprobeError: what the first failing process raised, after all have ended; or it died several times.
    """
    from distributed import KilledWorker

    with local_processes(count) as client:
        client.run(_ignore_termination)
        futures = [
            client.submit(run_process, request, devices[index % len(devices)], index, count, stop_file, pure=False)
            for index in range(count)
        ]
        _watch(client, futures, plan)
        try:
            outcomes: list[Outcome] = client.gather(futures)
        except KilledWorker as error:
            raise ModelError(
                "a process died repeatedly: out of memory, or a crash in a library",
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
    store = _open(plan.path)
    with Progress(plan.clips, plan.source, log=get_logger("extract"), warmup=1) as bar:
        shown = 0
        while not all(future.done() for future in futures):
            time.sleep(POLL_SECONDS)
            if store is None:
                store = _open(plan.path)
                continue
            store.refresh()
            counts = store.index.counts()
            done = min((counts.get(spec.name, 0) for spec in plan.arrays), default=0) - plan.complete
            bar.advance(max(0, done - shown))
            shown = max(done, shown)


def _open(path: Path) -> FeatureStore | None:
    """Open the store of a job, None before its first clip is ready."""
    return FeatureStore.open(path) if (path / STORE).is_file() else None


def reader_threads(processes: int) -> int:
    """Return how many threads of each process should decode and resize: the cores, fairly shared, at most 8."""
    return max(1, min(8, available_cores() // processes))


def recorded(device: str) -> dict[str, Any]:
    """Return what a store records about its first run; it doesn't affect any value."""
    packages = ("torch", "diffusers", "transformers", "numpy", "pillow")
    versions = {package: found for package in packages if (found := package_version(package)) is not None}
    return {"versions": versions, "device": device.partition(":")[0]}


@contextmanager
def interruptible() -> Iterator[str]:
    """Turn the first SIGINT or SIGTERM into a file that all processes look for; the second one interrupts as usual."""
    folder = tempfile.TemporaryDirectory(prefix="spatialprobe-stop-")
    path = Path(folder.name) / "stop"
    before: dict[int, Any] = {}

    def handle(number: int, _frame: object) -> None:
        path.touch()
        get_logger("extract").warning("finishing the current clips; interrupt again to stop immediately")
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
    """Seal the store once it is complete; a failure only costs later readers a second, so it is just a warning."""
    try:
        if (store := _open(plan.path)) is not None:  # a part may have no clips at all
            seal_complete(store)
    except SpatialprobeError as error:
        again = commands.cache("seal", store=plan.path)
        get_logger("extract").warning("%s\n  all clips are committed; to seal the store: %s", error, again)


def _changed(request: Request, plan: Plan) -> int:
    """Return how many finished clips have files that changed after they were prepared, and print which files.

    Their features stay: they were computed from files that had been compared with their digests.
    """
    if not plan.finished:
        return 0
    dataset = request.open_dataset()
    found: dict[str, str] = {}
    with Progress(plan.complete, "looking for changed files", log=get_logger("extract")) as bar:
        for clip_id in plan.finished:
            try:
                files = dataset.changed_files(clip_id)
            except CorruptionError as error:  # the record of the clip is one of its files
                found[clip_id] = str(error)
            else:
                if files:
                    found[clip_id] = f"{files[0]}" + (f" and {len(files) - 1} more" if len(files) > 1 else "")
            bar.advance()
    for clip_id, files_text in list(found.items())[:10]:
        print(f"changed since it was prepared: {clip_id}: {files_text}")
    if len(found) > 10:
        print(f"... and {len(found) - 10} more clips")
    if found:
        again = commands.data("prepare", dataset=plan.dataset)
        print(
            f"their features stay, since they were computed before; to restore the files: delete the folders of these "
            f"{len(found)} clips in {dataset.path / 'clips'} and run the same `{again}` again"
        )
    return len(found)


def _left_to_others(plan: Plan, config: RunConfig) -> int:
    """Return how many clips of this job other processes still hold, and print which process."""
    store = _open(plan.path)
    names = [spec.name for spec in plan.arrays]
    if store is None or not set(names) <= set(store.arrays):  # nothing could be computed
        return 0
    numbers = [store.clip_index(clip) for clip in store.missing(names) if clip in plan.asked]
    left = [number for number in numbers if config.mine(number)]
    if left:
        holder = store.board.holder(f"{left[0]:08d}") or "a process that has just ended"
        print(f"{len(left)} clips are not done: {holder} holds the first of them; run the same command again later")
    return len(left)


def _summarise(outcome: Outcome, config: RunConfig, plan: Plan, count: int, seconds: float) -> None:
    done = [record for record in outcome.records if record.status == "done"]
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{plan.source}-{os.getpid()}"
    log = save_log(outcome.records, config.root, name, outcome.parameters)
    pace = f"; {outcome.working:.1f} s excluding start and loading: {rates(done, outcome.working, count)}"
    print(f"{len(done)} clips in {seconds:.1f} s" + (pace if done else ""))
    for record in outcome.failed[:10]:
        print(f"failed: {record.clip_id}: {record.reason}")
    if len(outcome.failed) > 10:
        print(f"... and {len(outcome.failed) - 10} more; {plan.path}/quarantine has all reasons")
    if outcome.failed:
        print(f"to try them again: {run_command(config)}")
    print(f"store: {plan.path}" + (f"\nlog:   {log}" if log else ""))


def save_log(records: list[Record], root: str | None, name: str, parameters: int) -> Path | None:
    """Write extract_log.parquet of one run: a row per clip with stage timings and the size of the loaded network.

    Returns:
        Where it is; None if nothing was done.
    """
    if not records:
        return None
    import pandas as pd

    path = logs_path(root) / "extract" / name / "extract_log.parquet"
    table = pd.DataFrame([dataclasses.asdict(record) for record in records]).assign(parameters=parameters)
    write_with_digest(path, parquet_bytes(table))
    return path
