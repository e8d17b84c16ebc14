"""Jobs on the toy dataset: their options, what one process does, and what is in the store afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cache.store import FeatureStore
from extract.job import extraction as job
from extract.job.config import RunConfig
from extract.job.plan import Plan, make_plan
from extract.job.request import resolve_request

CLIPS = [f"clip_{number:02d}" for number in range(6)] + ["short_00"]


def config(root: Path, **options: Any) -> RunConfig:
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


def planned(settings: RunConfig) -> Plan:
    return make_plan(resolve_request(settings, "cpu"))


def fail_once(
    monkeypatch: pytest.MonkeyPatch, owner: object, name: str, clip_of: Callable[..., str], error: Exception
) -> None:
    """Make a function fail for one clip, as long as the patch is in place."""
    original = getattr(owner, name)

    def failing(*args: Any, **kwargs: Any) -> Any:
        if clip_of(*args) == "clip_02":
            raise error
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, failing)
