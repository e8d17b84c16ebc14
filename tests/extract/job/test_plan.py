"""The plan's promise about the disk, for stores of every family at tiny size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cache.care.seal import seal_complete
from extract.job.config import RunConfig
from extract.job.extraction import recorded
from extract.job.plan import make_plan
from extract.job.request import resolve_request

QUICK = ("pixels", "oracle", "cogvideox-t2v-2b", "qwen3-vl-8b")
LONG = ("wan-t2v-1.3b", "wan-i2v-14b", "aether", "opensora", "internvl3.5-8b", "qwen2.5-vl-7b", "sensenova")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.full) for name in LONG)])
@pytest.mark.parametrize("limit", [2, 0])
def test_the_plan_is_right_about_the_disk(root, tiny_cache, monkeypatch, name, limit):
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
