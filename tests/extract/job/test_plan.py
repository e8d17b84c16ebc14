"""The plan's promise about the disk, for stores of every family at tiny size."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cache.care.forecast import bytes_needed
from cache.care.seal import seal_complete
from configs.errors import StaleError, StorageError
from extract.job.config import RunConfig
from extract.job.extraction import recorded
from extract.job.plan import make_plan
from extract.job.request import resolve_request
from tests.extract.job.jobs import config, planned, run, store_of

QUICK = ("pixels", "oracle", "cogvideox-t2v-2b", "qwen3-vl-8b")
LONG = ("wan-t2v-1.3b", "wan-i2v-14b", "aether", "opensora", "internvl3.5-8b", "qwen2.5-vl-7b", "sensenova")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.full) for name in LONG)])
@pytest.mark.parametrize("limit", [2, 0])
def test_the_plan_is_right_about_the_disk(
    root: Path, tiny_cache: str, monkeypatch: pytest.MonkeyPatch, name: str, limit: int
) -> None:
    """Within 5 % of the bytes of all files of the finished store; the features themselves don't matter."""
    monkeypatch.setattr("extract.job.request.artifact_root", lambda root: Path(tiny_cache))
    config = RunConfig(
        model=name, dataset="toy", weights="random", size="tiny", grid=["paper", "native"], limit=limit, root=str(root)
    )
    request = resolve_request(config, "cpu")
    plan = make_plan(request)
    store = request.store(recorded("cpu"))
    for clip_id in store.clips:
        with store.writer(clip_id, run={"device": "cpu", "batch": 1}) as writer:
            for spec in request.specs:
                writer.put(spec.name, torch.randn(spec.shape))
    assert seal_complete(store)
    taken = sum(path.stat().st_size for path in Path(store.where).rglob("*") if path.is_file())
    assert taken == pytest.approx(plan.new_bytes, rel=0.05)
    assert make_plan(request).new_bytes == 0


def test_the_plan_of_a_part_is_about_its_own_clips(root: Path) -> None:
    share = config(root, part="1/3")
    assert (planned(share).clips, planned(share).complete) == (2, 0)
    run(share)
    assert (planned(share).clips, planned(share).complete) == (0, 2)
    assert (planned(config(root)).clips, planned(config(root)).complete) == (5, 2)
    run(config(root, clips=["clip_05", "clip_02"]))  # known clips keep their places
    assert planned(config(root, part="2/3")).clips == 0


def test_a_job_that_the_disk_cannot_hold_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10_000))
    with pytest.raises(StorageError, match="don't fit"):
        run(config(root))
    assert not list((root / "features").rglob("store.json")) if (root / "features").exists() else True


def test_a_clip_named_twice_is_one_clip(root: Path) -> None:
    settings = config(root, clips=["clip_02", "clip_02"])
    assert planned(settings).clips == 1
    assert run(settings) == 0
    assert store_of(settings).clips == ["clip_02"]


def test_only_what_a_store_lacks_must_fit_on_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_an_array_of_another_noise_does_not_count_as_done(root: Path) -> None:
    """Both levels are called s0500; the store holds the first."""
    settings = RunConfig(
        model="wan", dataset="toy", weights="random", size="tiny", noise=["0.5"], layers=["1"], root=str(root)
    )
    resolve_request(settings, "cpu").store({})
    make_plan(resolve_request(settings, "cpu"))
    other = replace(settings, noise=["0.5002"])
    with pytest.raises(StaleError, match=r"dit\.b1\.s0500"):
        make_plan(resolve_request(other, "cpu"))
