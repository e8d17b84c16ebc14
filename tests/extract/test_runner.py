"""The job runner on a toy dataset: resume, faults, interrupts, shares, workers; the store must come out the same."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import random
import shutil
import signal
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.care.verify import verify
from cache.store import FeatureStore
from configs import commands
from configs.errors import ConfigError, CorruptionError, DatasetError, ModelError, StaleError, StorageError
from extract.job import extraction as job
from extract.job.config import RunConfig, run_command
from extract.job.forward import seats
from extract.job.plan import make_plan
from extract.job.request import chosen_blocks, resolve_request
from extract.job.runner import Runner

CLIPS = [f"clip_{number:02d}" for number in range(6)] + ["short_00"]


def config(root: Path, **options) -> RunConfig:
    return replace(
        RunConfig(model="pixels", dataset="toy", grid=["4x5"], device="cpu", root=str(root)), **options
    )  # fmt: skip


def run(settings: RunConfig) -> int:
    return job.run(resolve_request(settings, "cpu"))


def work(settings: RunConfig, index: int = 0, count: int = 1) -> None:
    """What one process of a job does."""
    request = resolve_request(settings, "cpu")
    request.store({})
    job.run_process(request, "cpu", index, count)


def store_of(settings: RunConfig) -> FeatureStore:
    return FeatureStore.open(make_plan(resolve_request(settings, "cpu")).path)


def checksums(store: FeatureStore) -> dict[str, object]:
    """Checksums of every row of every clip and array."""
    return {
        f"{clip}/{name}": store.index.shard(store.clip_index(clip), name).crc32c  # type: ignore[union-attr]
        for clip in store.clips
        for name in store.arrays
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, toy_dataset):
    """Checksums of a store made without any trouble."""
    root = tmp_path_factory.mktemp("undisturbed")
    (root / "datasets").mkdir()
    (root / "datasets" / "toy").symlink_to(toy_dataset)
    assert run(config(root)) == 0
    return checksums(store_of(config(root)))


def test_a_run_stores_what_the_adapter_gives(root, undisturbed):
    assert run(config(root)) == 0
    store = store_of(config(root))
    assert store.clips == sorted(CLIPS)
    assert store.coverage() == {"pixels.4x5": 1.0}
    assert checksums(store) == undisturbed
    request = resolve_request(config(root), "cpu")
    from extract.job.forward import read_clip

    expected = request.adapter().preprocess(read_clip(request.open_dataset(), request.adapter(), "short_00"))[
        "features"
    ]
    assert torch.equal(store.read([("short_00", "pixels.4x5", list(range(20)))])[0], expected)  # type: ignore[index]
    assert store.array("pixels.4x5").row_of_slot == tuple(range(20))
    assert store.fingerprint["adapter"]["family"] == "pixels"


def test_a_request_is_plain_data_and_knows_its_dataset(root, toy_dataset, monkeypatch):
    """Processes get it as it is; none of them may read another dataset than the one that its fingerprint names."""
    request = resolve_request(config(root), "cpu")
    sent = pickle.loads(pickle.dumps(request))
    assert sent == request and sent.adapter().identity() == request.adapter().identity()
    request.store({})
    monkeypatch.setattr("data.dataset.reader.PreparedDataset.fingerprint", "prepared anew")
    with pytest.raises(StaleError, match="prepared again while"):
        job.run_process(sent, "cpu")


def test_a_complete_store_is_sealed_and_can_still_grow(root, undisturbed):
    assert run(config(root, limit=2)) == 0
    assert store_of(config(root)).index.sealed
    assert run(config(root)) == 0
    store = store_of(config(root))
    assert store.index.sealed
    assert checksums(store) == undisturbed
    assert run(config(root, clips=["clip_01"])) == 0
    assert verify(store.backend) == []


def test_a_job_with_nothing_to_do_seals_what_a_killed_one_left_open(root, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("extract.job.extraction._seal", lambda plan: None)
        assert run(config(root)) == 0
    assert not store_of(config(root)).index.sealed
    assert run(config(root)) == 0
    assert store_of(config(root)).index.sealed


def test_a_store_that_cannot_be_sealed_is_complete_all_the_same(root, undisturbed, monkeypatch, caplog):
    def refuse(store):
        raise StorageError("no space left")

    monkeypatch.setattr("extract.job.extraction.seal_complete", refuse)
    assert run(config(root)) == 0
    assert "no space left" in caplog.text and commands.cache("seal", store=store_of(config(root)).where) in caplog.text
    assert checksums(store_of(config(root))) == undisturbed


def test_running_again_does_nothing(root, capsys):
    run(config(root))
    before = {path: path.stat().st_mtime_ns for path in store_files(config(root))}
    assert run(config(root)) == 0
    assert {path: path.stat().st_mtime_ns for path in store_files(config(root))} == before
    assert "0 clips to do, 7 complete" in capsys.readouterr().out


def store_files(settings: RunConfig) -> list[Path]:
    return [path for path in Path(store_of(settings).where).rglob("*") if path.is_file()]


def test_clips_can_be_added_later(root, undisturbed):
    assert run(config(root, limit=2)) == 0
    assert len(store_of(config(root)).clips) == 2
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


@pytest.mark.parametrize("batch", ["2", "3", "auto"])
def test_batches_give_the_same_store(root, undisturbed, batch):
    assert run(config(root, batch=batch)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_parts_make_up_the_whole(root, undisturbed):
    for part in ("2/3", "0/3", "1/3"):
        assert run(config(root, part=part, batch="2")) == 0
        assert store_of(config(root)).index.sealed == (part == "1/3")  # by whoever commits last
    assert checksums(store_of(config(root))) == undisturbed


def test_the_plan_of_a_part_is_about_its_own_clips(root):
    share = config(root, part="1/3")
    assert (planned(share).clips, planned(share).complete) == (2, 0)
    run(share)
    assert (planned(share).clips, planned(share).complete) == (0, 2)
    assert (planned(config(root)).clips, planned(config(root)).complete) == (5, 2)
    run(config(root, clips=["clip_05", "clip_02"]))  # known clips keep their places
    assert planned(config(root, part="2/3")).clips == 0


def planned(settings: RunConfig):
    return make_plan(resolve_request(settings, "cpu"))


@pytest.mark.parametrize("batch", ["0", "many", "-1", "1.5"])
def test_bad_batches_are_refused(root, batch):
    with pytest.raises(ConfigError, match="batch"):
        run(config(root, batch=batch))
    assert not (root / "features").exists()


@pytest.mark.parametrize("part", ["3/3", "1", "a/b", "-1/2"])
def test_bad_parts_are_refused(part):
    with pytest.raises(ConfigError, match="part"):
        RunConfig(model="pixels", part=part).share()


def test_two_processes_at_once_share_the_work(root, undisturbed):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extract.test_runner", "zarr", "pandas"])
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
def test_dask_workers_give_the_same_store(root, undisturbed):
    assert run(config(root, workers=2)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def killed_runs(root: Path, times: int, undisturbed: dict[str, object]) -> None:
    """Kill runs at random moments, starting over whenever one has got through, and let the last one finish."""
    chance = random.Random(5)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.extract.test_runner", "zarr", "pandas"])
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
    from cache.clip_writer import ClipWriter
    from extract.job import runner

    prepare, commit = runner.prepare, ClipWriter._commit

    def slow_prepare(*args, **kwargs):
        time.sleep(0.1)
        return prepare(*args, **kwargs)

    def slow_commit(writer):
        time.sleep(0.05)
        commit(writer)
        time.sleep(0.05)

    runner.prepare, ClipWriter._commit = slow_prepare, slow_commit  # type: ignore[method-assign, assignment]
    work(settings)


def test_kill_and_resume(root, undisturbed):
    killed_runs(root, 3, undisturbed)


@pytest.mark.full
def test_kill_and_resume_many_times(root, undisturbed):
    killed_runs(root, 20, undisturbed)


def fail_once(monkeypatch, owner, name, clip_of, error):
    """Make a function fail for one clip, as long as the patch is in place."""
    original = getattr(owner, name)

    def failing(*args, **kwargs):
        if clip_of(*args) == "clip_02":
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)


@pytest.mark.parametrize("stage", ["read", "preprocess", "forward", "put"])
def test_a_failing_clip_is_set_aside_and_tried_again(root, undisturbed, monkeypatch, capsys, stage):
    from cache.clip_writer import ClipWriter
    from extract.controls.maps import MapSource
    from extract.job import forward

    with monkeypatch.context() as patch:
        if stage == "read":
            fail_once(patch, forward, "read_clip", lambda d, a, c: c, DatasetError("the frame is torn"))
        elif stage == "preprocess":
            fail_once(patch, MapSource, "preprocess", lambda s, c: c.clip_id, DatasetError("the frame is torn"))
        elif stage == "forward":
            fail_once(patch, MapSource, "forward", lambda s, b: b.clip_ids[0], RuntimeError("the frame is torn"))
        else:
            fail_once(patch, ClipWriter, "put", lambda w, a, f: w.clip_id, ValueError("the frame is torn"))
        assert run(config(root)) == 1
    store = store_of(config(root))
    assert not store.index.sealed
    assert set(store.clips) - set(store.committed("pixels.4x5")) == {"clip_02"}
    assert "the frame is torn" in store.quarantined()["clip_02"]
    out = capsys.readouterr().out
    assert "failed: clip_02" in out
    assert commands.extract("run", model="pixels") in out
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed
    assert not store_of(config(root)).quarantined()
    assert store_of(config(root)).index.sealed  # not while a clip was set aside


def test_values_that_are_not_finite_are_refused(root, monkeypatch):
    from extract.controls.maps import MapSource

    original = MapSource.preprocess

    def spoilt(self, clip):
        inputs = dict(original(self, clip))
        if clip.clip_id == "clip_01":
            inputs["features"][3, 0, 0, 0] = float("nan")
        return inputs

    with monkeypatch.context() as patch:
        patch.setattr(MapSource, "preprocess", spoilt)
        assert run(config(root)) == 1
    assert "finite" in store_of(config(root)).quarantined()["clip_01"].lower()


def test_a_full_disk_stops_the_job_and_leaves_a_resumable_store(root, undisturbed, monkeypatch):
    from cache.clip_writer import ClipWriter

    with monkeypatch.context() as patch:
        fail_once(patch, ClipWriter, "put", lambda w, a, f: w.clip_id, StorageError("no space left"))
        with pytest.raises(StorageError):
            run(config(root))
    store = store_of(config(root))
    assert not store.quarantined()  # the disk is to blame, not the clip
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_writes_are_read_back_on_request(root, undisturbed, monkeypatch):
    """A disk that returns other bytes than it was given is found out before the clip counts, and stops the job."""
    from cache import clip_writer as checks

    settings = config(root, verify_writes=True)
    check, seen = checks.check_shard, []

    def lying(backend, key, spec, shard):
        seen.append(key)
        return "row 3: other bytes" if len(seen) == 3 else check(backend, key, spec, shard)

    with monkeypatch.context() as patch:
        patch.setattr(checks, "check_shard", lying)
        with pytest.raises(CorruptionError, match="reads back differently"):
            run(settings)
    store = store_of(settings)
    assert len(store.committed("pixels.4x5")) == 2
    assert not store.quarantined()  # the disk is to blame, not the clip
    with monkeypatch.context() as patch:
        patch.setattr(checks, "check_shard", lying)
        assert run(settings) == 0
    assert len(seen) == 3 + len(CLIPS) - 2
    assert checksums(store_of(settings)) == undisturbed


def test_if_everything_fails_the_job_ends_early(root, monkeypatch):
    from extract.controls.maps import MapSource

    def broken(self, clip):
        raise TypeError("a mistake in the code")

    monkeypatch.setattr(MapSource, "preprocess", broken)
    with pytest.raises(ModelError, match="all failed"):
        run(config(root))


def test_an_interrupt_finishes_the_clip_in_hand(root, undisturbed, monkeypatch):
    from extract.controls.maps import MapSource

    original = MapSource.forward

    def interrupted(self, batch):
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


def test_a_job_that_the_disk_cannot_hold_is_refused(root, monkeypatch):
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(StorageError, match="don't fit"):
        run(config(root))
    assert not list((root / "features").rglob("store.json")) if (root / "features").exists() else True


def test_a_log_tells_the_stages_of_every_clip(root):
    import pandas as pd

    run(config(root))
    (path,) = (root / "logs").rglob("extract_log.parquet")
    log = pd.read_parquet(path)
    assert sorted(log["clip_id"]) == sorted(CLIPS)
    assert (log["status"] == "done").all()
    assert (log["parameters"] == 0).all()  # not a model
    assert (log[["read_seconds", "preprocess_seconds", "device_seconds", "write_seconds"]].sum() > 0).all()


def test_layers_and_levels_are_added_with_the_same_noise(root, tiny_cache, monkeypatch):
    """A block added later is bitwise what a run with both blocks gives."""
    import pandas as pd

    monkeypatch.setattr("extract.job.request.artifact_root", lambda root: Path(tiny_cache))
    tiny = {"model": "cogvideox-t2v-2b", "weights": "random", "size": "tiny", "grid": ["native"], "limit": 1}
    late = config(root, **tiny, layers=["2"], cache_latents=True)
    assert run(late) == 0
    (log,) = (root / "logs").rglob("extract_log.parquet")
    assert (pd.read_parquet(log)["parameters"] > 10_000).all()
    both = replace(late, layers=["2", "4"], noise=["index:749", "0.3"])
    assert run(both) == 0
    store = store_of(both)
    assert sorted(store.arrays) == [f"dit.b{block}.{level}.6x9" for block in (2, 4) for level in ("s0302", "s0782")]
    request = resolve_request(both, "cpu")
    adapter = request.adapter()
    adapter.load([tap for tap, _ in request.arrays.values()])
    from extract.adapter import Batch
    from extract.job.forward import prepare

    ready = prepare(request.open_dataset(), adapter, "clip_00", pin=False)
    inputs = {name: value[None] for name, value in ready.inputs.items()}
    expected = adapter.forward(Batch(clip_ids=["clip_00"], inputs=inputs))
    for name, (tap, spec) in request.arrays.items():
        stored = store.read([("clip_00", name, list(range(spec.rows)))])[0]  # type: ignore[index]
        assert torch.equal(stored, expected[tap.key][0].half())


def test_chosen_blocks():
    from extract.model import load_model

    model = load_model("wan-t2v-1.3b")
    assert chosen_blocks(["paper"], model, 30) == [19, 21]
    assert chosen_blocks(["paper"], model, 6) == [4]
    assert chosen_blocks(["even4"], model, 30) == [8, 15, 22, 30]
    assert chosen_blocks(["all"], model, 4) == [1, 2, 3, 4]
    assert chosen_blocks(["3", "1"], model, 30) == [1, 3]
    for wrong in ("31", "0", "middle", "even0"):
        with pytest.raises(ConfigError, match="no layer"):
            chosen_blocks([wrong], model, 30)


def test_commands_repeat_a_configuration(root):
    settings = config(root, layers=["2", "4"], cache_latents=True)
    words = f"model=pixels dataset=toy layers=2,4 grid=4x5 device=cpu cache_latents=true root={root}"
    assert run_command(settings) == f"{commands.extract('run')} {words}"


def test_the_reader_window_is_bounded(root):
    """No more groups are claimed ahead than the queues hold."""
    request = resolve_request(config(root), "cpu")
    store = request.store({})
    runner = Runner(request, store, batch=1)
    most = 0
    claim = store.claim

    def counting(clip_id, arrays=None):
        nonlocal most
        lease = claim(clip_id, arrays)
        most = max(most, len(store.board._held))
        return lease

    store.claim = counting  # type: ignore[method-assign]
    runner.run()
    from extract.job.runner import GROUPS_AHEAD, WRITES_AHEAD

    assert 1 <= most <= GROUPS_AHEAD + WRITES_AHEAD + 2
    assert np.isclose(sum(store.coverage().values()), 1)


def test_job_is_quiet_about_nothing_to_do(root, capsys):
    run(config(root, limit=1))
    capsys.readouterr()
    assert run(config(root, limit=1)) == 0
    assert "0 clips to do" in capsys.readouterr().out
    assert job.recorded("cpu")["versions"]["torch"]


def test_a_log_without_bars_gets_an_estimate_after_the_first_clips(root, caplog, monkeypatch):
    """The first clip waits for weights and says nothing about the others."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("configs.console.time.monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "spatialprobe.extract")
    assert run(config(root)) == 0
    assert any("clips done, about" in record.getMessage() for record in caplog.records)


def test_a_clips_bits_do_not_depend_on_who_else_is_in_its_batch(root, monkeypatch):
    """Arithmetic of a batch differs with its size and with the place in it; here much more than in the last bits."""
    from extract.controls.maps import MapSource

    original = MapSource.forward

    def uneven(self, batch):
        place = torch.arange(len(batch.clip_ids)).view(-1, 1, 1, 1, 1)
        return {key: value + len(batch.clip_ids) + 0.1 * place for key, value in original(self, batch).items()}

    monkeypatch.setattr(MapSource, "forward", uneven)
    settings = config(root, batch="3")
    assert run(settings) == 0
    expected = checksums(store_of(settings))
    shutil.rmtree(root / "features")
    assert run(replace(settings, limit=2)) == 0  # the third of the first group comes alone, after its neighbours
    reason = RuntimeError("read failed")
    with monkeypatch.context() as patch:
        fail_once(patch, MapSource, "preprocess", lambda source, clip: clip.clip_id, reason)
        assert run(settings) == 1  # nobody is in the batch of those that failed when they are tried again
    assert run(settings) == 0
    assert checksums(store_of(settings)) == expected


@pytest.mark.parametrize(
    ("numbers", "seated", "places"),
    [([4, 5, 6, 7], [0, 1, 2, 3], [0, 1, 2, 3]), ([6, 7], [0, 0, 0, 1], [2, 3]), ([5], [0, 0, 0, 0], [1])],
)
def test_seats_follow_from_numbers(numbers, seated, places):
    assert seats(numbers, 4) == (seated, places)


def test_clips_that_others_hold_are_told(root, undisturbed, capsys):
    assert run(config(root, limit=1)) == 0
    settings = config(root)
    resolve_request(settings, "cpu").store({})
    store = store_of(settings)
    lease = store.claim("clip_03")
    assert run(settings) == 1
    out = capsys.readouterr().out
    assert f"1 clips are not done: process {os.getpid()} on" in out
    assert run(replace(settings, limit=3)) == 0  # what others hold beyond what is asked for doesn't matter
    assert run(replace(settings, part="0/7")) == 0
    lease.release()
    assert run(settings) == 0
    assert checksums(store_of(settings)) == undisturbed


def test_a_clip_named_twice_is_one_clip(root):
    settings = config(root, clips=["clip_02", "clip_02"])
    assert planned(settings).clips == 1
    assert run(settings) == 0
    assert store_of(settings).clips == ["clip_02"]


def test_only_what_a_store_lacks_must_fit_on_the_disk(root, monkeypatch):
    from cache.care.forecast import bytes_needed

    settings = RunConfig(
        model="qwen3-vl-2b", dataset="toy", weights="random", size="tiny", layers=["1", "2", "3"], root=str(root)
    )
    request = resolve_request(settings, "cpu")
    store = request.store({})
    *done, last = request.specs
    for clip_id in store.clips:
        with store.writer(clip_id) as writer:
            for spec in done:
                writer.put(spec.name, torch.zeros(spec.shape))
    plan = make_plan(request)
    assert plan.new_bytes == bytes_needed([last], len(store.clips))
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=int(plan.new_bytes * 1.5)))
    plan.check_disk()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=plan.new_bytes))
    with pytest.raises(StorageError, match="don't fit"):
        plan.check_disk()


def test_an_array_of_another_noise_does_not_count_as_done(root):
    """Both levels are called s0500; the store holds the first."""
    settings = RunConfig(
        model="wan", dataset="toy", weights="random", size="tiny", noise=["0.5"], layers=["1"], root=str(root)
    )
    resolve_request(settings, "cpu").store({})
    make_plan(resolve_request(settings, "cpu"))
    other = replace(settings, noise=["0.5002"])
    with pytest.raises(StaleError, match=r"dit\.b1\.s0500"):
        make_plan(resolve_request(other, "cpu"))


def test_processes_that_keep_dying_are_told(root, monkeypatch):
    from distributed import KilledWorker

    class Client:
        def run(self, function):
            assert function is job._ignore_termination  # a batch system's SIGTERM is the parent's business

        def submit(self, *args, **kwargs):
            return None

        def gather(self, futures):
            raise KilledWorker("run_process", None, 3)

    monkeypatch.setattr(job, "local_processes", lambda count: nullcontext(Client()))
    monkeypatch.setattr(job, "_watch", lambda *args: None)
    with pytest.raises(ModelError, match="died repeatedly"):
        run(config(root, workers=2))
