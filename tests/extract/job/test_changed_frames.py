"""Frames that are not those that were prepared never become features, and a finished store does not hide them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from configs import commands
from data.dataset.layout import clip_folder
from tests.extract.job.jobs import CLIPS, checksums, config, run, store_of


@pytest.fixture
def own(root: Path, toy_dataset: Path) -> Path:
    """An artifact root whose dataset may be changed."""
    (root / "datasets/toy").unlink()
    shutil.copytree(toy_dataset, root / "datasets/toy")
    return root


def frame(root: Path, clip_id: str, position: int) -> Path:
    return clip_folder(root / "datasets/toy", clip_id) / f"frames/{position:05d}.jpg"


def flip(path: Path) -> None:
    """Change a byte inside the compressed pixels: the picture still decodes, to other colours."""
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def swap(path: Path) -> None:
    """Put another clip's picture there, with its own, older time."""
    shutil.copy2(path.parents[2] / "clip_00" / "frames" / path.name, path)


CHANGES: list[Callable[[Path], None]] = [flip, swap, Path.unlink]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_frame_sets_its_clip_aside(
    own: Path, undisturbed: dict[str, object], capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    path = frame(own, "clip_02", 5)
    whole, times = path.read_bytes(), path.stat()
    change(path)
    assert run(config(own)) == 1
    store = store_of(config(own))
    assert store.committed("pixels.4x5") == [clip for clip in sorted(CLIPS) if clip != "clip_02"]
    reason = store.quarantined()["clip_02"]
    assert str(path) in reason and f"{commands.data('prepare', dataset='toy')}` again" in reason
    assert "failed: clip_02" in capsys.readouterr().out
    path.write_bytes(whole)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(config(own)) == 0
    assert checksums(store_of(config(own))) == undisturbed


@pytest.mark.parametrize("change", CHANGES)
def test_a_frame_that_changes_afterwards_is_noticed(
    own: Path, undisturbed: dict[str, object], capsys: pytest.CaptureFixture[str], change: Callable[[Path], None]
) -> None:
    """Also by a job that has other clips left to do; the features stay as they are."""
    assert run(config(own, limit=3)) == 0
    change(frame(own, "clip_02", 5))
    change(frame(own, "clip_02", 9))
    change(frame(own, "clip_01", 9))
    for _ in range(2):
        capsys.readouterr()
        assert run(config(own)) == 1
        out = capsys.readouterr().out
        assert f"changed since it was prepared: clip_02: {frame(own, 'clip_02', 5)} and 1 more\n" in out
        assert f"changed since it was prepared: clip_01: {frame(own, 'clip_01', 9)}\n" in out
        assert commands.data("prepare", dataset="toy") in out and "failed" not in out
    assert checksums(store_of(config(own))) == undisturbed
    assert run(config(own, clips=["clip_00", "clip_03"])) == 0  # other clips are none of its business


def test_a_record_that_changes_afterwards_is_noticed(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config(own, limit=2)) == 0
    path = frame(own, "clip_01", 0).parents[1] / "clip.json"
    path.write_bytes(path.read_bytes().replace(b'"bytes"', b'"Bytes"', 1))
    assert run(config(own, limit=2)) == 1
    assert str(path) in capsys.readouterr().out


def test_a_dataset_that_was_copied_without_its_times_is_as_good(own: Path) -> None:
    assert run(config(own)) == 0
    for path in (own / "datasets/toy/clips").rglob("*"):
        os.utime(path)
    assert run(config(own)) == 0


def test_the_oracle_reads_no_changed_ground_truth(own: Path) -> None:
    settings = replace(config(own, clips=["clip_00", "clip_01"]), model="oracle", groups=["depth"])
    path = clip_folder(own / "datasets/toy", "clip_01") / "gt.zarr/depth/c/0/0/0"
    path.unlink()  # which Zarr reads as zeros
    assert run(settings) == 1
    assert str(path) in store_of(settings).quarantined()["clip_01"]
