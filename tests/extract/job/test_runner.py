"""The runner in one process: what is stored, clips that fail, disks that fail, how far ahead it reads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from cache.clip_writer import ClipWriter
from cache.format.records import ShardRecord
from cache.format.shard import check_shard
from cache.format.spec import ArraySpec
from cache.lease import Lease
from cache.storage.backend import Backend
from configs import commands
from configs.errors import CorruptionError, DatasetError, ModelError, StorageError
from extract.adapter import ClipInput
from extract.controls.maps import MapSource
from extract.job import forward
from extract.job.forward import read_clip
from extract.job.request import resolve_request
from extract.job.runner import GROUPS_AHEAD, WRITES_AHEAD, Runner
from tests.extract.job.jobs import CLIPS, checksums, config, fail_once, run, store_of


def test_a_run_stores_what_the_adapter_gives(root: Path, undisturbed: dict[str, object]) -> None:
    assert run(config(root)) == 0
    store = store_of(config(root))
    assert store.clips == sorted(CLIPS)
    assert store.coverage() == {"pixels.4x5": 1.0}
    assert checksums(store) == undisturbed
    request = resolve_request(config(root), "cpu")

    expected = request.adapter().preprocess(read_clip(request.open_dataset(), request.adapter(), "short_00"))[
        "features"
    ]
    assert torch.equal(store.read([("short_00", "pixels.4x5", list(range(20)))])[0], expected)
    assert store.array("pixels.4x5").row_of_slot == tuple(range(20))
    assert store.fingerprint["adapter"]["family"] == "pixels"


@pytest.mark.parametrize("stage", ["read", "preprocess", "forward", "put"])
def test_a_failing_clip_is_set_aside_and_tried_again(
    root: Path,
    undisturbed: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    stage: str,
) -> None:
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


def test_values_that_are_not_finite_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = MapSource.preprocess

    def spoilt(self: MapSource, clip: ClipInput) -> Mapping[str, torch.Tensor]:
        inputs = dict(original(self, clip))
        if clip.clip_id == "clip_01":
            inputs["features"][3, 0, 0, 0] = float("nan")
        return inputs

    with monkeypatch.context() as patch:
        patch.setattr(MapSource, "preprocess", spoilt)
        assert run(config(root)) == 1
    assert "finite" in store_of(config(root)).quarantined()["clip_01"].lower()


def test_a_full_disk_stops_the_job_and_leaves_a_resumable_store(
    root: Path, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fail_once(patch, ClipWriter, "put", lambda w, a, f: w.clip_id, StorageError("no space left"))
        with pytest.raises(StorageError):
            run(config(root))
    store = store_of(config(root))
    assert not store.quarantined()  # the disk is to blame, not the clip
    assert run(config(root)) == 0
    assert checksums(store_of(config(root))) == undisturbed


def test_writes_are_read_back_on_request(
    root: Path, undisturbed: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that returns other bytes than it was given is found out before the clip counts, and stops the job."""
    settings = config(root, verify_writes=True)
    seen: list[str] = []

    def lying(backend: Backend, key: str, spec: ArraySpec, shard: ShardRecord) -> str | None:
        seen.append(key)
        return "row 3: other bytes" if len(seen) == 3 else check_shard(backend, key, spec, shard)

    with monkeypatch.context() as patch:
        patch.setattr("cache.clip_writer.check_shard", lying)
        with pytest.raises(CorruptionError, match="reads back differently"):
            run(settings)
    store = store_of(settings)
    assert len(store.committed("pixels.4x5")) == 2
    assert not store.quarantined()  # the disk is to blame, not the clip
    with monkeypatch.context() as patch:
        patch.setattr("cache.clip_writer.check_shard", lying)
        assert run(settings) == 0
    assert len(seen) == 3 + len(CLIPS) - 2
    assert checksums(store_of(settings)) == undisturbed


def test_if_everything_fails_the_job_ends_early(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:

    def broken(self: MapSource, clip: ClipInput) -> Mapping[str, torch.Tensor]:
        raise TypeError("a mistake in the code")

    monkeypatch.setattr(MapSource, "preprocess", broken)
    with pytest.raises(ModelError, match="all failed"):
        run(config(root))


def test_the_reader_window_is_bounded(root: Path) -> None:
    """No more groups are claimed ahead than the queues hold."""
    request = resolve_request(config(root), "cpu")
    store = request.store({})
    runner = Runner(request, store, batch=1)
    most = 0
    claim = store.claim

    def counting(clip_id: str, arrays: Iterable[str] | None = None) -> Lease | None:
        nonlocal most
        lease = claim(clip_id, arrays)
        most = max(most, len(store.board.held))
        return lease

    store.claim = counting  # type: ignore[method-assign]
    runner.run()

    assert 1 <= most <= GROUPS_AHEAD + WRITES_AHEAD + 2
    assert np.isclose(sum(store.coverage().values()), 1)


def test_a_log_without_bars_gets_an_estimate_after_the_first_clips(
    root: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first clip waits for weights and says nothing about the others."""
    clock = iter(range(0, 10_000, 10))
    monkeypatch.setattr("configs.console.time.monotonic", lambda: next(clock))
    caplog.set_level(logging.INFO, "spatialprobe.extract")
    assert run(config(root)) == 0
    assert any("clips done, about" in record.getMessage() for record in caplog.records)
