"""Clips made by Dask: any number of processes gives the same, a dying process costs its own clip, statuses tell all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from configs.console import format_seconds
from configs.errors import ConfigError, DatasetError
from configs.files import file_digests
from configs.jobs import run_jobs
from data.dataset.clip import Clip, ClipRefused
from data.dataset.reader import PreparedDataset
from data.prepare.forecast import forecast
from data.prepare.prepare import prepare
from tests.data.toy import Shape, ToySource

SHAPE = Shape(query_only=True, frame_size=(16, 16), gt_size=(16, 16))


@dataclass(frozen=True)
class Trouble(ToySource):
    """Clips whose names say what happens to them."""

    def make(self, clip_id: str) -> Clip:
        if clip_id.startswith("dies"):
            os._exit(9)
        if clip_id.startswith("bug"):
            raise ZeroDivisionError("in a decoder")
        if clip_id.startswith("gone"):
            raise FileNotFoundError(2, "No such file or directory", "/raw/x.sens")
        if clip_id.startswith("short"):
            raise ClipRefused("too short for a clip", found=7, where="/raw/short.mp4")
        return super().make(clip_id)


def trouble(names: Sequence[str]) -> Trouble:
    return Trouble(dict.fromkeys(names, SHAPE))


def test_nothing_that_befalls_a_clip_costs_another(tmp_path: Path) -> None:
    names = ["a", "bug", "b", "gone", "short", "broken", "c"]
    source = Trouble(dict.fromkeys(names, SHAPE), broken=("broken",))
    status = tmp_path / "status.parquet"
    with pytest.raises(DatasetError, match="3 of 7 clips could not be made"):
        prepare(source, tmp_path / "d", workers=1, status_file=status)
    summary = prepare(source, tmp_path / "d", workers=1, allowed_failures=3, status_file=status)
    assert set(summary.failed) == {"bug", "gone", "broken"} and set(summary.refused) == {"short"}
    table = pd.read_parquet(status).set_index("clip")
    assert list(table.columns) == ["status", "reason", "seconds", "bytes", "warnings"]
    assert dict(table["status"]) == dict(
        zip(names, ["kept", "failed", "kept", "failed", "refused", "failed", "kept"], strict=True)
    )
    assert (
        "unexpected ZeroDivisionError: in a decoder" in table["reason"]["bug"] and "Traceback" in table["reason"]["bug"]
    )
    assert "/raw/x.sens" in table["reason"]["gone"]
    assert len(PreparedDataset(tmp_path / "d").clips) == 3


def test_refused_clips_alone_do_not_fail_the_run(tmp_path: Path) -> None:
    summary = prepare(trouble(["a", "short"]), tmp_path / "d", workers=1)
    assert (summary.made, summary.failed, len(summary.refused)) == (1, {}, 1)
    with pytest.raises(DatasetError, match="no clip could be made") as caught:
        prepare(trouble(["short"]), tmp_path / "e", workers=1)
    assert "too short for a clip" in str(caught.value)


@pytest.mark.full
def test_a_dying_process_costs_its_own_clip(tmp_path: Path) -> None:
    names = ["a", "b", "dies", "c", "d"]
    summary = prepare(trouble(names), tmp_path / "d", workers=2, allowed_failures=1)
    assert summary.made == 4 and "died twice" in summary.failed["dies"]
    alone = tmp_path / "alone"
    prepare(trouble(["a", "b", "c", "d"]), alone, workers=1)
    for clip in ("a", "b", "c", "d"):
        assert file_digests(alone / "clips" / clip) == file_digests(tmp_path / "d/clips" / clip)


def test_running_cluster(tmp_path: Path) -> None:
    from distributed import LocalCluster

    threads = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": ":0"}
    with LocalCluster(protocol="tcp://", **threads) as cluster:
        assert cluster.scheduler_address.startswith("tcp://")
        summary = prepare(
            trouble(["a", "bug", "b"]), tmp_path / "d", cluster=cluster.scheduler_address, allowed_failures=1
        )
    assert summary.made == 2 and "ZeroDivisionError" in summary.failed["bug"]


@pytest.mark.parametrize("cluster", ["slurm", "tcp://127.0.0.1:1"])
def test_no_such_cluster(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import configs.jobs as jobs

    monkeypatch.setattr(jobs, "CONNECT_S", 0.5)
    with pytest.raises(ConfigError, match=r"unknown cluster|no Dask scheduler answers"):
        list(run_jobs(str.upper, ["a"], cluster=cluster))


def test_forecast(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = trouble(["a", "b", "c", "d", "e", "f"])
    tried = forecast(source, tmp_path / "d", workers=1)
    assert [s.clip for s in tried] == ["a", "d"] and all(s.bytes > 0 for s in tried)
    assert "to be made     6" in capsys.readouterr().out and not list(tmp_path.iterdir())
    prepare(source, tmp_path / "d", workers=1)
    before = file_digests(tmp_path / "d")
    assert forecast(source, tmp_path / "d", workers=1) == [] and file_digests(tmp_path / "d") == before
    assert [s.status for s in forecast(trouble(["short", "bug2"]), tmp_path / "e")] == ["refused", "failed"]


def test_durations() -> None:
    assert [format_seconds(s) for s in (5, 89, 600, 7500)] == ["5 s", "89 s", "10 min", "2 h 05 min"]
