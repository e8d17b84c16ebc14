"""Prepare: resumes to the same bytes after any kill, in any number of processes, and refuses what does not fit."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from configs.errors import CorruptionError, DatasetError, MissingError, StaleError, VersionError
from configs.files import TEMPORARY_PREFIX, atomic_folder, file_digests, remove_stale, write_atomic
from data.dataset.clip_files import write_clip
from data.dataset.queries import AUTO, load_plan
from data.dataset.reader import PreparedDataset
from data.prepare import prepare as module
from data.prepare.prepare import prepare
from tests.data.prepare.forked import SMALL, finish, start
from tests.data.toy import Shape, ToySource


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path = tmp_path_factory.mktemp("calm") / "d"
    prepare(ToySource(SMALL), path, plans=["paper-4"], workers=1)
    return file_digests(path)


def cut_off(path: Path, times: int, workers: int, rng: random.Random) -> int:
    """Kill a run at random moments; return how many kills hit while clips were being written."""
    hits = 0
    for _ in range(times):
        process = start(path, workers)
        deadline = time.monotonic() + 60
        before = entries(path) if workers > 1 else -1  # a cluster takes seconds to start; kill it once it works
        while entries(path) <= before and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(rng.uniform(0, 0.25))
        hits += process.is_alive()
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid or 0, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT]))
        process.join()
    return hits


def entries(path: Path) -> int:
    """Clips that are there or being written; -1 before the run has begun."""
    return len(list((path / "clips").iterdir())) if (path / "clips").is_dir() else -1


@pytest.mark.parametrize(("times", "workers"), [(4, 1), pytest.param(8, 2, marks=pytest.mark.full)])
def test_interrupted_runs_end_in_the_same_bytes(
    tmp_path: Path, undisturbed: dict[str, str], times: int, workers: int
) -> None:
    path = tmp_path / "d"
    assert cut_off(path, times, workers, random.Random(times)) > 0
    if not (path / "manifest.json").exists():  # on a fast machine the last run may have got through
        with pytest.raises(MissingError, match="finishes it"):
            PreparedDataset(path)
    finish(start(path, workers))
    assert file_digests(path) == undisturbed


def test_interrupts_at_every_step(tmp_path: Path, undisturbed: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve interruptions between single file operations; whenever a run gets through, its bytes are the same."""
    path, rng, real = tmp_path / "d", random.Random(0), os.fsync
    interrupted = finished = 0
    while interrupted < 12 or not finished:
        left = rng.choice([0, 1, 2, 3, 10, 25, 33, 36, 40, 80, 1000 if interrupted > 9 else 5])

        def failing(descriptor: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            real(descriptor)

        monkeypatch.setattr(os, "fsync", failing)
        try:
            prepare(ToySource(SMALL), path, plans=["paper-4"], workers=1)
        except KeyboardInterrupt:
            interrupted += 1
        else:
            finished += 1
            assert file_digests(path) == undisturbed
            shutil.rmtree(path)
        monkeypatch.setattr(os, "fsync", real)


def test_two_runs_at_once(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    runs = [start(tmp_path / "d", 1) for _ in range(2)]
    for run in runs:
        finish(run)
    assert file_digests(tmp_path / "d") == undisturbed


def test_number_of_processes_does_not_matter(tmp_path: Path, undisturbed: dict[str, str]) -> None:
    prepare(ToySource(SMALL), tmp_path / "d", plans=["paper-4"], workers=2)
    assert file_digests(tmp_path / "d") == undisturbed


def test_second_run_changes_nothing(tmp_path: Path) -> None:
    source, path = ToySource(SMALL), tmp_path / "d"
    assert prepare(source, path, workers=1).made == 6
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()}
    summary = prepare(source, path, workers=1)
    assert (summary.made, summary.kept) == (0, 6)
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*") if p.is_file()} == before


def test_changed_parameters_are_refused(tmp_path: Path) -> None:
    prepare(ToySource(SMALL), tmp_path / "d", workers=1)
    before = file_digests(tmp_path / "d")
    with pytest.raises(StaleError, match=r"parameters\.seed: 0 -> 1") as caught:
        prepare(ToySource(SMALL, seed=1), tmp_path / "d", workers=1)
    assert "dataset=" in str(caught.value)
    with pytest.raises(StaleError, match=r"splits\.select: 0\.1 -> 0\.2"):
        prepare(ToySource(SMALL), tmp_path / "d", select=0.2, workers=1)
    assert file_digests(tmp_path / "d") == before


def test_failed_clips_are_quarantined_and_retried(tmp_path: Path) -> None:
    path, broken = tmp_path / "d", ToySource(SMALL, broken=("clip_01", "clip_04"))
    with pytest.raises(DatasetError, match="2 of 6 clips could not be made"):
        prepare(broken, path, workers=1)
    assert not (path / "manifest.json").exists()
    assert "truncated recording" in (path / "quarantine/clip_01.json").read_text()
    summary = prepare(broken, path, workers=1, allowed_failures=2)
    assert set(summary.failed) == {"clip_01", "clip_04"} and len(PreparedDataset(path).clips) == 4
    prepare(ToySource(SMALL), path, workers=1)
    assert len(PreparedDataset(path).clips) == 6 and not list((path / "quarantine").iterdir())


def test_repeated_clip_ids_are_refused(tmp_path: Path) -> None:
    class Twice(ToySource):
        def clip_ids(self) -> list[str]:
            return ["a", "b", "a"]

    with pytest.raises(DatasetError, match="not unique"):
        prepare(Twice({"a": Shape(), "b": Shape()}), tmp_path / "d", workers=1)


def test_clips_that_leave_the_index_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shapes = {"a_00": Shape(20), "b_00": Shape(20)}
    prepare(ToySource(shapes), tmp_path / "d", workers=1)
    assert "made earlier" not in caplog.text
    prepare(ToySource({"b_00": Shape(20)}), tmp_path / "d", workers=1)
    assert "1 clips made earlier are not among the 1 of this run (a_00" in caplog.text


def test_plans_that_fit_no_clip_are_named_together(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="paper-8 or random_start-8") as caught:
        prepare(
            ToySource({"a_00": Shape(24)}), tmp_path / "d", plans=["paper-4", "paper-8", "random_start-8"], workers=1
        )
    assert str(caught.value).endswith("plans=[paper-4]") and not list((tmp_path / "d/queries").iterdir())
    assert prepare(ToySource({"a_00": Shape(24)}), tmp_path / "d", plans=["paper-4"], workers=1).kept == 1


@pytest.mark.parametrize(("frames", "plans"), [(81, 4), (36, 4), (35, 3), (33, 2), (16, 2), (12, 0)])
def test_default_plans_fit_every_clip(tmp_path: Path, frames: int, plans: int) -> None:
    """The shortest clip decides: 8 queries 5 apart need 36 frames, 4 need 16, some less without the first frame."""
    prepare(ToySource({"a_00": Shape(), "b_00": Shape(frames)}), tmp_path / "d", plans=[AUTO], workers=1)
    dataset = PreparedDataset(tmp_path / "d")
    made = [load_plan(dataset, path.name.partition(".")[0]) for path in (tmp_path / "d/queries").iterdir()]
    assert len(made) == plans and all(set(plan.queries) == {"a_00", "b_00"} for plan in made)


@pytest.mark.parametrize("name", ["dataset.json", "manifest.json"])
def test_every_flipped_byte_of_the_records_is_found(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in what has no influence on values, such as the licence or the number of clips."""
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    prepare(ToySource({"a": Shape(query_only=True)}), tmp_path / "d", workers=1)
    path = tmp_path / "d" / name
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises((CorruptionError, VersionError, DatasetError)) as caught:
            PreparedDataset(tmp_path / "d")
        assert name in str(caught.value)


def test_an_unfinished_dataset_is_told_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    prepare(ToySource({"a_00": Shape(20)}), tmp_path / "mine", workers=1)
    (tmp_path / "mine/manifest.json").unlink()
    with pytest.raises(MissingError, match="data prepare kind=toy dataset=mine"):
        PreparedDataset(tmp_path / "mine")


def test_groups_cut_by_official_splits_are_refused(tmp_path: Path) -> None:
    shapes = {
        "a_0": Shape(query_only=True, group="a", split="train"),
        "a_1": Shape(query_only=True, group="a", split="report"),
    }
    with pytest.raises(DatasetError, match="group a is cut"):
        prepare(ToySource(shapes), tmp_path / "d", workers=1)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
def test_full_or_broken_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    path = tmp_path / "d"
    left = 3

    def failing(*args: object, **keywords: object) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(number, os.strerror(number))
        write_clip(*args, **keywords)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "write_clip", failing)
    with pytest.raises(OSError, match=os.strerror(number)):
        prepare(ToySource(SMALL), path, workers=1)
    monkeypatch.setattr(module, "write_clip", write_clip)
    assert len(list((path / "clips").iterdir())) == 3  # finished clips stay
    assert prepare(ToySource(SMALL), path, workers=1).kept == 3


def test_half_written_folder_never_appears(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), atomic_folder(tmp_path / "c") as folder:
        (folder / "x").write_bytes(b"1")
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    (tmp_path / "c").mkdir()
    (tmp_path / "c/y").write_bytes(b"first")
    with atomic_folder(tmp_path / "c") as folder:
        (folder / "x").write_bytes(b"second")
    assert [p.name for p in (tmp_path / "c").iterdir()] == ["y"]  # the first writer wins


def test_failed_file_write_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "f", b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_stale_temporaries(tmp_path: Path) -> None:
    import socket

    host = socket.gethostname()
    dead = tmp_path / f"{TEMPORARY_PREFIX}a-{host}-{2**22 + 5}-0123abcd"
    live = tmp_path / f"{TEMPORARY_PREFIX}b-{host}-{os.getpid()}-0123abcd"
    far = tmp_path / f"{TEMPORARY_PREFIX}c-elsewhere-7-0123abcd"
    far_old = tmp_path / f"{TEMPORARY_PREFIX}d-elsewhere-7-0123abcd"
    for path in (dead, live, far, far_old):
        path.mkdir()
    os.utime(far_old, (0, 0))
    assert remove_stale(tmp_path) == 2
    assert live.exists() and far.exists() and not dead.exists() and not far_old.exists()


@pytest.mark.parametrize(
    "name", ["index.parquet", "frames.parquet", "instances.parquet", "manifest.json", "dataset.json"]
)
def test_damaged_tables_are_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    path = tmp_path / "d"
    prepare(ToySource({"a": Shape(query_only=True)}), path, workers=1)
    whole = (path / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:]):
        (path / name).write_bytes(damaged)
        with pytest.raises((CorruptionError, DatasetError)) as caught:
            PreparedDataset(path)
        assert "parquet" in str(caught.value) or name in str(caught.value)
    (path / name).unlink()
    with pytest.raises(MissingError):
        PreparedDataset(path)


def test_tables_can_be_rebuilt_from_the_clips(tmp_path: Path) -> None:
    path = tmp_path / "d"
    prepare(ToySource(SMALL), path, plans=["paper-4"], workers=1)
    before = file_digests(path)
    for name in ("index.parquet", "frames.parquet", "manifest.json"):
        (path / name).unlink()
    prepare(ToySource(SMALL), path, plans=["paper-4"], workers=1)
    assert file_digests(path) == before


def test_importing_a_worker_exception_keeps_its_fields() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(DatasetError("bad", expected=1, found=2, where="x", fix="y")))
    assert (error.problem, error.expected, error.fix) == ("bad", 1, "y") and "expected" in str(error)
