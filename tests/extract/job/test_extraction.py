"""Whole jobs: sealing, resuming, parts, several processes, kills and interrupts; the store must come out the same."""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cache.care.verify import verify
from cache.clip_writer import ClipWriter
from cache.lease import Lease, LeaseBoard
from cache.store import FeatureStore
from configs import commands
from configs.errors import ModelError, StorageError
from extract.adapter import Batch, Tap
from extract.controls.maps import MapSource
from extract.job import extraction as job
from extract.job.config import RunConfig, run_command
from extract.job.forward import Prepared, prepare
from extract.job.request import resolve_request
from tests.extract.job.jobs import CLIPS, checksums, config, run, store_of, work


def test_a_complete_store_is_sealed_and_can_still_grow(root: Path, undisturbed: dict[str, object]) -> None:
    assert run(config(root, limit=2)) == 0
    assert store_of(config(root)).index.sealed
    assert run(config(root)) == 0
    store = store_of(config(root))
    assert store.index.sealed
    assert checksums(store) == undisturbed
    assert run(config(root, clips=["clip_01"])) == 0
    assert verify(store.backend) == []


def test_a_job_with_nothing_to_do_seals_what_a_killed_one_left_open(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("extract.job.extraction.seal_complete", lambda store: False)
        assert run(config(root)) == 0
    assert not store_of(config(root)).index.sealed
    assert run(config(root)) == 0
    assert store_of(config(root)).index.sealed


def test_a_store_that_cannot_be_sealed_is_complete_all_the_same(
    root: Path, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(store: FeatureStore) -> None:
        raise StorageError("no space left")

    monkeypatch.setattr("extract.job.extraction.seal_complete", refuse)
    assert run(config(root)) == 0
    assert "no space left" in caplog.text and commands.cache("seal", store=store_of(config(root)).where) in caplog.text
    assert checksums(store_of(config(root))) == undisturbed


def test_running_again_does_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config(root))
    before = {path: path.stat().st_mtime_ns for path in store_files(config(root))}
    assert run(config(root)) == 0
    assert {path: path.stat().st_mtime_ns for path in store_files(config(root))} == before
    assert "0 clips to do, 7 complete" in capsys.readouterr().out


def store_files(settings: RunConfig) -> list[Path]:
    return [path for path in Path(store_of(settings).where).rglob("*") if path.is_file()]


def test_clips_can_be_added_later(root: Path, undisturbed: dict[str, object]) -> None:
    assert run(config(root, limit=2)) == 0
    assert len(store_of(config(root)).clips) == 2
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_parts_make_up_the_whole(root: Path, undisturbed: dict[str, object]) -> None:
    for part in ("2/3", "0/3", "1/3"):
        assert run(config(root, part=part, batch="2")) == 0
        assert store_of(config(root)).index.sealed == (part == "1/3")  # by whoever commits last
    assert checksums(store_of(config(root))) == undisturbed


def test_two_processes_at_once_share_the_work(root: Path, undisturbed: dict[str, object]) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extract.job.test_extraction", "zarr", "pandas"])
    jobs = [context.Process(target=work, args=(config(root), i, 2)) for i in range(2)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(120)
        assert each.exitcode == 0
    store = store_of(config(root))
    assert checksums(store) == undisturbed
    assert len(list(Path(store.where).glob("commits/*"))) == len(CLIPS)  # none was done twice


@pytest.mark.full
def test_dask_workers_give_the_same_store(root: Path, undisturbed: dict[str, object]) -> None:
    assert run(config(root, workers=2)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def killed_runs(root: Path, times: int, undisturbed: dict[str, object]) -> None:
    """Kill runs at random moments, starting over whenever one has got through, and let the last one finish."""
    chance = random.Random(5)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extract.job.test_extraction", "zarr", "pandas"])
    killed = 0
    while killed < times:
        process = context.Process(target=run_slowly, args=(config(root),))
        process.start()
        process.join(chance.uniform(0.2, 1.5))
        process.kill()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        killed += process.exitcode != 0
        if process.exitcode == 0:
            shutil.rmtree(root / "features")
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed
    assert verify(store_of(config(root)).backend) == []


def run_slowly(settings: RunConfig) -> None:
    """A run whose clips take a while, so that kills hit every stage."""
    leave, release = ClipWriter.__exit__, Lease.release

    def slow_prepare(*args: Any, **options: Any) -> Prepared:
        time.sleep(0.1)
        return prepare(*args, **options)

    def slow_exit(writer: ClipWriter, *error: Any) -> None:
        time.sleep(0.05)
        leave(writer, *error)

    def slow_release(lease: Lease) -> None:
        time.sleep(0.05)  # the clip is committed and still claimed
        release(lease)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("extract.job.runner.prepare", slow_prepare)
        patch.setattr(ClipWriter, "__exit__", slow_exit)
        patch.setattr(Lease, "release", slow_release)
        work(settings)


def test_kill_and_resume(root: Path, undisturbed: dict[str, object]) -> None:
    killed_runs(root, 3, undisturbed)


@pytest.mark.full
def test_kill_and_resume_many_times(root: Path, undisturbed: dict[str, object]) -> None:
    killed_runs(root, 20, undisturbed)


def test_an_interrupt_finishes_the_clip_in_hand(
    root: Path, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = MapSource.forward

    def interrupted(self: MapSource, batch: Batch) -> Mapping[str, torch.Tensor]:
        if batch.clip_ids[0] == "clip_02":
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        return original(self, batch)

    before = signal.getsignal(signal.SIGINT)  # ignored in a job that a shell runs in the background
    with monkeypatch.context() as patch:
        patch.setattr(MapSource, "forward", interrupted)
        with pytest.raises(KeyboardInterrupt) as interrupt:
            run(config(root))
    assert str(interrupt.value) == f"to continue: {run_command(config(root))}"
    done = store_of(config(root)).committed("pixels.4x5")
    assert "clip_02" in done
    assert len(done) < len(CLIPS)
    assert signal.getsignal(signal.SIGINT) is before
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_a_log_tells_the_stages_of_every_clip(root: Path) -> None:
    import pandas as pd

    run(config(root))
    (path,) = (root / "logs").rglob("extract_log.parquet")
    log = pd.read_parquet(path)
    assert sorted(log["clip_id"]) == sorted(CLIPS)
    assert (log["status"] == "done").all()
    assert (log["parameters"] == 0).all()  # not a model
    assert (log[["read_seconds", "preprocess_seconds", "device_seconds", "write_seconds"]].sum() > 0).all()


def test_job_is_quiet_about_nothing_to_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(config(root, limit=1))
    capsys.readouterr()
    assert run(config(root, limit=1)) == 0
    assert "0 clips to do" in capsys.readouterr().out
    assert job.recorded("cpu")["versions"]["torch"]


def test_clips_that_others_hold_are_left_on_request(
    root: Path, undisturbed: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(config(root, limit=1)) == 0
    settings = config(root, wait=False)
    resolve_request(settings, "cpu").store({})
    store = store_of(settings)
    lease = store.claim("clip_03")
    assert lease
    assert run(settings) == job.LEFT_TO_OTHERS == 3
    out = capsys.readouterr().out
    assert f"1 clips are not done: process {os.getpid()} on" in out
    assert run(replace(settings, limit=3)) == 0  # what others hold beyond what is asked for doesn't matter
    assert run(replace(settings, part="0/7")) == 0
    lease.release()
    assert run(settings) == 0
    assert checksums(store_of(settings)) == undisturbed


def test_clips_that_others_hold_are_waited_for(
    root: Path, undisturbed: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    """The process that holds one gives it back undone; nothing else is left by then."""
    caplog.set_level(logging.INFO, "spatialprobe.extract")
    settings = config(root)
    resolve_request(settings, "cpu").store({})
    store = store_of(settings)
    lease = store.claim("clip_03")
    assert lease

    def release_at_the_end() -> None:
        while len(store_of(settings).missing()) > 1:
            time.sleep(0.05)
        time.sleep(0.3)
        lease.release()

    other = threading.Thread(target=release_at_the_end)
    other.start()
    assert run(settings) == 0
    other.join()
    assert f"waiting for 1 clips that process {os.getpid()} on" in caplog.text
    assert checksums(store_of(settings)) == undisturbed


def test_clips_of_a_silent_machine_are_taken_over(
    root: Path, undisturbed: dict[str, object], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are held by a machine that is gone, or by this one before it was started again; two minutes pass at once."""
    caplog.set_level(logging.INFO, "spatialprobe.extract")
    settings = config(root)
    resolve_request(settings, "cpu").store({})
    store = store_of(settings)
    foreign = b'{"holder": {"host": "far", "place": "other", "pid": 7, "started": 1, "token": "x"}, "beat": 0}'
    for clip in range(len(CLIPS)):
        store.backend.replace(f"leases/{clip:08d}.0000.json", foreign)
    assert run(replace(settings, wait=False)) == 3
    looked: list[float] = []

    def clock() -> float:
        looked.append(time.monotonic())
        return looked[-1] + 121 * (looked[-1] - looked[0] > 0.2)

    make = LeaseBoard.__init__
    monkeypatch.setattr(
        LeaseBoard, "__init__", lambda board, backend, timeout=120.0: make(board, backend, 120.0, clock)
    )
    loaded: list[float] = []
    load = MapSource.load

    def timed(source: MapSource, taps: Sequence[Tap]) -> None:
        loaded.append(time.monotonic())
        load(source, taps)

    monkeypatch.setattr(MapSource, "load", timed)
    assert run(settings) == 0
    assert (
        f"waiting for {len(CLIPS)} clips that process 7 on far holds; if it stays silent, they are taken over in"
        in (caplog.text)
    )
    assert loaded[0] - looked[0] > 0.2  # no device is kept busy by the wait
    assert checksums(store_of(settings)) == undisturbed
    assert list((Path(store.where) / "leases").iterdir()) == []


def test_of_two_jobs_at_once_the_first_to_finish_waits(root: Path, undisturbed: dict[str, object]) -> None:
    """They begin on a path where nothing is yet, at the same group."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extract.job.test_extraction", "zarr", "pandas"])
    jobs = [context.Process(target=exit_with_code, args=(config(root),)) for _ in range(2)]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join(120)
        assert each.exitcode == 0
    store = store_of(config(root))
    assert checksums(store) == undisturbed
    assert len(list(Path(store.where).glob("commits/*"))) == len(CLIPS)
    assert verify(store.backend) == []


def exit_with_code(settings: RunConfig) -> None:
    sys.exit(run(settings))


@pytest.mark.parametrize("stage", ["load", "preprocess", "forward"])
def test_a_model_that_does_not_work_leaves_no_store(
    root: Path, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def broken(*_: object) -> None:
        raise ModelError("the weights don't fit")

    with monkeypatch.context() as patch:
        patch.setattr(MapSource, stage, broken)
        with pytest.raises(ModelError):
            run(config(root))
        assert not (root / "features").exists()
    assert run(config(root, limit=1)) == 0
    files = store_files(config(root))
    with monkeypatch.context() as patch:
        patch.setattr(MapSource, stage, broken)
        with pytest.raises(ModelError):
            run(config(root))
    assert store_files(config(root)) == files and len(store_of(config(root)).clips) == 1  # nor does one grow
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_processes_that_keep_dying_are_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from distributed import KilledWorker

    class Client:
        def run(self, function: Callable[[], None]) -> None:
            before = signal.getsignal(signal.SIGTERM)
            function()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN  # from a batch system: the parent's business
            signal.signal(signal.SIGTERM, before)

        def submit(self, *args: Any, **kwargs: Any) -> SimpleNamespace:
            return SimpleNamespace(done=lambda: True)

        def gather(self, futures: list[SimpleNamespace]) -> None:
            raise KilledWorker("run_process", None, 3)

    monkeypatch.setattr(job, "local_processes", lambda count: nullcontext(Client()))
    with pytest.raises(ModelError, match="died repeatedly"):
        run(config(root, workers=2))
