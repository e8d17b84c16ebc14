"""The commands: emit, prepare, inspect and verify; interrupted imports end in the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from configs import commands
from configs.cli import main
from configs.errors import StaleError
from configs.files import file_digests
from data.__main__ import VERBS
from data.dataset.reader import PreparedDataset
from data.emit.scannet_scan import RawScan
from data.look.verify import verify
from data.prepare.prepare import prepare
from data.scannet.config import ScannetConfig
from data.scannet.sens import SensFile, SensIndex
from data.scannet.source import ScannetSource
from tests.data.scannet.faults import write_broken


def run(*words: str) -> int:
    return main("data", "", VERBS, words)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    path = tmp_path_factory.mktemp("calm") / "scannet"
    prepare(ScannetSource(ScannetConfig(), raw), path, workers=1)
    return path


def test_interrupted_imports_end_in_the_same_bytes(
    tmp_path: Path, raw: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while reading, at several images of several scans."""
    source, real, read = ScannetSource(ScannetConfig(), raw), SensFile.read_colour, 0
    for limit in (1, 40, 120, 100):
        read = 0

        def failing(self: SensFile, index: SensIndex, frame: int, limit: int = limit) -> bytes:
            nonlocal read
            read += 1
            if read > limit:
                raise KeyboardInterrupt
            return real(self, index, frame)

        monkeypatch.setattr(SensFile, "read_colour", failing)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "d", workers=1)
        monkeypatch.setattr(SensFile, "read_colour", real)
        assert not (tmp_path / "d/manifest.json").exists()
        if limit == 40:
            shutil.rmtree(tmp_path / "d")
    summary = prepare(source, tmp_path / "d", workers=1)
    assert summary.kept > 0 and file_digests(tmp_path / "d") == file_digests(undisturbed)


@pytest.mark.full
def test_killed_imports_end_in_the_same_bytes(tmp_path: Path, raw: Path, undisturbed: Path) -> None:
    rng, hits = random.Random(0), 0
    path = tmp_path / "datasets/scannet"
    command = [sys.executable, "-m", "data", "prepare", "kind=scannet", f"raw={raw}", f"root={tmp_path}", "plans=[]"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(6):
        process = subprocess.Popen(
            [*command, "workers=2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
            env=environment,
        )  # fmt: skip
        deadline = time.monotonic() + 60
        while not (path / "clips").is_dir() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 4))
        hits += process.poll() is None
        process.send_signal(rng.choice([signal.SIGKILL, signal.SIGINT]))
        process.communicate()
    assert hits > 0
    done = subprocess.run([*command, "workers=1"], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr.decode()
    found = {name: sha for name, sha in file_digests(path).items() if not name.startswith("status")}
    assert found == file_digests(undisturbed)


def test_geometry_holds(undisturbed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sensor depth, poses and rescaled intrinsics agree with each other: pixels moved between frames meet."""
    assert not verify(PreparedDataset(undisturbed), workers=1, pairs=4), capsys.readouterr().out


def test_other_options_on_the_same_name_are_refused(tmp_path: Path, raw: Path, undisturbed: Path) -> None:
    shutil.copytree(undisturbed, tmp_path / "d")
    with pytest.raises(StaleError, match=r"parameters\.taxonomy: 'scannet20' -> 'scannet200'"):
        prepare(ScannetSource(ScannetConfig(taxonomy="scannet200"), raw), tmp_path / "d", workers=1)


def test_from_emit_to_inspect(tmp_path: Path, brief: RawScan, capsys: pytest.CaptureFixture[str]) -> None:
    """One command writes a raw dataset; two of its scans break, and the next command imports what is sound."""
    out, root = tmp_path / "raw", f"root={tmp_path}"
    small = ["clips=2", "height=32", "width=40", "frames=24", "min_visible=0", "rescans=0", "workers=1"]
    assert run("emit", "format=scannet", f"out={out}", "layout=sens", *small) == 0
    shown = capsys.readouterr().out
    assert "2 recordings" in shown and commands.data("prepare", kind="scannet", raw=out) in shown
    for name, fault in (("scene0002_00", "cut_sens"), ("scene0003_00", "frames_19")):
        write_broken(out / "scans" / name, replace(brief, name=name), "sens", fault)
    words = ("prepare", "kind=scannet", f"raw={out}", root, "workers=1", "plans=[]")
    assert run(*words) == 1
    told = capsys.readouterr().err
    assert "1 of 4 clips could not be made" in told and "allowed_failures=" in told
    assert run(*words, "allowed_failures=1") == 0
    assert "0 clips made, 2 already there, 1 failed, 1 refused" in capsys.readouterr().out
    assert run("inspect", "dataset=scannet", root) == 0
    assert "2" in capsys.readouterr().out


def test_help_lists_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("emit", "format=scannet", "--help") == 0
    assert "rescans" in capsys.readouterr().out
    assert run("prepare", "kind=scannet", "--help") == 0
    shown = capsys.readouterr().out
    assert "taxonomy" in shown and "clips=all" in shown
    for preset in ("standard", "paper", "all", "scannet200"):
        assert run("prepare", "kind=scannet", f"preset={preset}", "raw=/nowhere", "--show") == 0
    assert run("emit", "format=scannett", "out=x") == 2
    assert "did you mean scannet" in capsys.readouterr().err
